"""What algorithms measure and what they take, found by asking them."""

from functools import partial

from polyak.agent import Spec


def metrics(name: str) -> list[str]:
    """The names of the metrics of an algorithm with its defaults, from its traced program; nothing is compiled."""
    import jax
    import jax.numpy as jnp

    from polyak.engines.compiled import CompiledEngine
    from polyak.envs import make
    from polyak.envs.base import CompiledEnv
    from tests import small

    algorithm = small.algorithm(name)
    num_envs = small.few_envs(algorithm)
    env = make(small.world_of(algorithm), num_envs)
    assert isinstance(env, CompiledEnv)
    spec = Spec(
        env.observation_space, env.action_space, num_envs, env.max_episode_steps, 10_000, goal=env.goal, simulator=env
    )
    engine = CompiledEngine(algorithm, algorithm.agent(spec), env, spec, 1_000)
    loop = jax.eval_shape(engine._start, jnp.uint32(0))
    _, found = jax.eval_shape(partial(engine._chunk, learn=True), loop, jnp.int32(1))
    return sorted(found)


TAKES = {
    "CartPole-v1": "vectors or images, and discrete actions",
    "Pendulum-v1": "vectors or images, and actions that are numbers",
    "FrozenLake-v1": "numbered states and actions",
    "tic-tac-toe": "boards of a game, and its moves",
}


def takes(name: str) -> str:
    """The kinds of observations and actions that an algorithm learns from."""
    from tests import small

    return "; ".join(words for world, words in TAKES.items() if small.suits(small.algorithm(name), world))
