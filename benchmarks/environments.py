"""Steps per second of eight environments with random actions: polyak's vector, Gymnasium's own, EnvPool, and compiled.

python benchmarks/environments.py
"""

import statistics
import time
from collections.abc import Callable

import gymnasium
import jax
import numpy as np
from rich.console import Console
from rich.table import Table

import polyak
from polyak.envs.base import CompiledEnv

NUM_ENVS, STEPS, ROUNDS = 8, 4_000, 5


def host(env: str) -> Callable[[], None]:
    vector = polyak.make(env, NUM_ENVS)
    vector.reset(0)
    actions = np.random.default_rng(0).integers(0, vector.action_space.n, (STEPS, NUM_ENVS))

    def run() -> None:
        for action in actions:
            vector.step(action)

    return run


def gymnasium_sync(env: str) -> Callable[[], None]:
    mode = gymnasium.vector.AutoresetMode.SAME_STEP
    vector = gymnasium.make_vec(env, NUM_ENVS, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode})
    vector.reset(seed=0)
    actions = np.random.default_rng(0).integers(0, vector.single_action_space.n, (STEPS, NUM_ENVS))

    def run() -> None:
        for action in actions:
            vector.step(action)

    return run


def compiled(env: CompiledEnv) -> Callable[[], None]:
    @jax.jit
    def play(key: jax.Array) -> jax.Array:
        noise_key, action_key = jax.random.split(key)
        noise = env.noise(noise_key, (STEPS, NUM_ENVS))
        actions = jax.random.randint(action_key, (STEPS, NUM_ENVS), 0, env.action_space.n)
        state, _ = jax.vmap(env.reset)(jax.tree.map(lambda leaf: leaf[0], noise))

        def step(state, now):
            action, noise = now
            state, _, reward, terminated, truncated = jax.vmap(env.step)(state, action, noise)
            fresh, _ = jax.vmap(env.reset)(noise)
            over = terminated | truncated
            return jax.tree.map(lambda a, b: jax.numpy.where(over, a, b), fresh, state), reward.sum()

        return jax.lax.scan(step, state, (actions, noise))[1].sum()

    return lambda: play(jax.random.key(0)).block_until_ready()


def main() -> None:
    contestants = {
        ("CartPole-v1", "compiled"): compiled(polyak.make("CartPole-v1")),
        ("CartPole-v1", "polyak's vector"): host("gymnasium:CartPole-v1"),
        ("CartPole-v1", "Gymnasium's vector"): gymnasium_sync("CartPole-v1"),
        ("CartPole-v1", "EnvPool"): host("envpool:CartPole-v1"),
        ("LunarLander-v3", "polyak's vector"): host("LunarLander-v3"),
        ("LunarLander-v3", "Gymnasium's vector"): gymnasium_sync("LunarLander-v3"),
        ("LunarLander-v3", "EnvPool"): host("envpool:LunarLander-v3"),
    }
    seconds: dict[tuple[str, str], list[float]] = {who: [] for who in contestants}
    for run in contestants.values():
        run()
    for _ in range(ROUNDS):  # in turns, so that a slow minute of the machine slows all
        for who, run in contestants.items():
            began = time.perf_counter()
            run()
            seconds[who].append(time.perf_counter() - began)
    table = Table("environment", "stepped by", "steps/s", title=f"{NUM_ENVS} environments, median of {ROUNDS}")
    for (env, way), times in seconds.items():
        table.add_row(env, way, f"{NUM_ENVS * STEPS / statistics.median(times):,.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
