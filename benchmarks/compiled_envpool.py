"""What EnvPool's `xla()` would gain: acting and stepping in one compiled program, beside the loop of the host engine.

python benchmarks/compiled_envpool.py

Inside a program shapes are fixed, so that all environments step at once, and one whose episode is over makes EnvPool's
late reset while the others go on: a step that never was, which must enter no block. `phantom` lets it in, and is the
most that EnvPool could gain. `compiled` is right: where episodes end, the program calls back to Python, which resets
these environments and no others. polyak has neither, because of what this prints, and because the address of a pool is
a constant of the program, so that every seed would compile its own.
"""

import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import envpool
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback
from rich.console import Console
from rich.table import Table

LENGTH, ROUNDS = 32, 7
CONTESTS = (("CartPole-v1", 8, 64, 10), ("CartPole-v1", 64, 64, 4), ("Pong-v5", 8, 16, 1), ("Pong-v5", 64, 16, 1))
"""Environment, how many, hidden units of two layers, and blocks a round."""


class Contest:
    """One environment and one small network, which several ways share."""

    def __init__(self, id: str, num_envs: int, hidden: int):
        options = {"episodic_life": True, "reward_clip": True} if id == "Pong-v5" else {}
        self.make = lambda: envpool.make(id, env_type="gymnasium", num_envs=num_envs, seed=0, **options)
        pool = self.make()
        self.num_envs, actions = num_envs, pool.action_space.n
        sizes = [int(np.prod(pool.observation_space.shape)), hidden, hidden, actions]
        random = np.random.default_rng(0)
        self.layers = [jnp.asarray(random.normal(0.0, 0.05, shape), jnp.float32) for shape in itertools.pairwise(sizes)]
        self.noise = random.gumbel(size=(LENGTH, num_envs, actions)).astype(np.float32)

    def act(self, layers: list[jax.Array], obs: Any, noise: Any) -> jax.Array:
        *hidden, last = layers
        x = obs.reshape(self.num_envs, -1).astype(jnp.float32)
        for layer in hidden:
            x = jnp.tanh(x @ layer)
        return jnp.argmax(x @ last + noise, -1).astype(jnp.int32)

    def host(self) -> Callable[[], Any]:
        pool, act = self.make(), jax.jit(self.act)
        now = np.array(pool.reset()[0])

        def run() -> Any:
            nonlocal now
            steps = []
            for noise in self.noise:
                action = np.asarray(act(self.layers, now, noise))
                next_obs, reward, terminated, truncated, _ = pool.step(action)
                next_obs = obs = np.array(next_obs)
                over = np.flatnonzero(terminated | truncated)
                if over.size:
                    obs = next_obs.copy()
                    obs[over] = pool.step(action[over], over)[0]
                steps.append((now, action, reward.copy(), terminated, truncated, next_obs))
                now = obs
            return [np.array(column) for column in zip(*steps, strict=True)]

        return run

    def compiled(self, phantom: bool = False) -> Callable[[], Any]:
        pool = self.make()
        handle, _, _, pool_step = pool.xla()
        first = np.array(pool.reset()[0])
        like = jax.ShapeDtypeStruct(first.shape, first.dtype)
        no_action = np.zeros(self.num_envs, np.int32)

        def begin(over: Any) -> np.ndarray:
            which = np.flatnonzero(np.asarray(over))
            fresh = np.zeros_like(first)
            fresh[which] = pool.step(no_action[which], which)[0]
            return fresh

        def step(layers: list[jax.Array], carry: tuple, noise: jax.Array) -> tuple:
            handle, now = carry
            action = self.act(layers, now, noise)
            handle, (next_obs, reward, terminated, truncated, _) = pool_step(handle, action)
            over, obs = terminated | truncated, next_obs
            if not phantom:
                rows = over.reshape(-1, *[1] * (next_obs.ndim - 1))
                obs = jax.lax.cond(
                    over.any(),
                    lambda: jnp.where(rows, io_callback(begin, like, over), next_obs),
                    lambda: next_obs,
                )
            return (handle, obs), (now, action, reward, terminated, truncated, next_obs)

        block = jax.jit(lambda layers, carry, noise: jax.lax.scan(lambda *x: step(layers, *x), carry, noise))
        carry = handle, jnp.asarray(first)

        def run() -> Any:
            nonlocal carry
            carry, steps = jax.block_until_ready(block(self.layers, carry, self.noise))
            return steps

        return run


def main() -> None:
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # as polyak's workers have it
    table = Table("environment", "side by side", "host", "compiled", "phantom", title=f"steps/s, median of {ROUNDS}")
    for id, num_envs, hidden, blocks in CONTESTS:
        contest = Contest(id, num_envs, hidden)
        ways = [contest.host(), contest.compiled(), contest.compiled(phantom=True)]
        seconds: list[list[float]] = [[] for _ in ways]
        for run in ways:
            run()
        for _ in range(ROUNDS):  # in turns, so that a slow minute of the machine slows all
            for run, times in zip(ways, seconds, strict=True):
                began = time.perf_counter()
                for _ in range(blocks):
                    run()
                times.append((time.perf_counter() - began) / (blocks * LENGTH * num_envs))
        table.add_row(id, f"{num_envs}", *(f"{1 / statistics.median(times):,.0f}" for times in seconds))
    Console().print(table)


if __name__ == "__main__":
    main()
