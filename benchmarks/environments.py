"""Steps per second of environments with random actions: polyak's vector, Gymnasium's own, EnvPool, and compiled.

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
WALKER_STEPS = 500
ATARI_STEPS = 4_000  # of all environments together: a step is four frames of a console


def host(env: str, num_envs: int = NUM_ENVS, steps: int = STEPS) -> Callable[[], None]:
    vector = polyak.make(env, num_envs)
    vector.reset(0)
    space, draws = vector.action_space, np.random.default_rng(0)
    if isinstance(space, gymnasium.spaces.Box):
        actions = draws.uniform(space.low, space.high, (steps, num_envs, *space.shape)).astype(np.float32)
    else:
        actions = draws.integers(0, space.n, (steps, num_envs))

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
    made = dict.fromkeys(contestants, NUM_ENVS * STEPS)  # environment steps of one run
    for way, prefix in (("polyak's vector", "gymnasium:"), ("EnvPool", "envpool:")):
        who = "BipedalWalker-v3", way
        contestants[who] = host(f"{prefix}BipedalWalker-v3", steps=WALKER_STEPS)
        made[who] = NUM_ENVS * WALKER_STEPS
    for env, way, counts in (("Pong-v5", "EnvPool", (1, 8, 32)), ("ALE/Pong-v5", "polyak's vector", (1, 8))):
        for count in counts:
            who = env, f"{way}, {count} of them"
            contestants[who], made[who] = host(env, count, ATARI_STEPS // count), ATARI_STEPS
    seconds: dict[tuple[str, str], list[float]] = {who: [] for who in contestants}
    for run in contestants.values():
        run()
    for _ in range(ROUNDS):  # in turns, so that a slow minute of the machine slows all
        for who, run in contestants.items():
            began = time.perf_counter()
            run()
            seconds[who].append(time.perf_counter() - began)
    table = Table(
        "environment",
        "stepped by",
        "steps/s",
        title=f"{NUM_ENVS} environments unless it says otherwise, median of {ROUNDS}",
    )
    for (env, way), times in seconds.items():
        table.add_row(env, way, f"{made[env, way] / statistics.median(times):,.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
