"""What tests of tables share: a random history to learn from step by step or at once, and a whole run."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from polyak.agent import Spec, Step
from polyak.engines.compiled import CompiledEngine
from polyak.envs.mdp import MDP


def spec_of(mdp: MDP, steps: int, num_envs: int = 1) -> Spec:
    spaces = gymnasium.spaces.Discrete(mdp.num_states), gymnasium.spaces.Discrete(mdp.num_actions)
    return Spec(*spaces, num_envs, mdp.max_episode_steps, steps)


def trained(algorithm, mdp: MDP, steps: int, seeds: int = 1, num_envs: int = 1):
    """The agent's states after a whole run, with a leading axis of seeds."""
    spec, batched = spec_of(mdp, steps, num_envs), seeds > 1  # a program of many seeds takes longer to compile
    iterations = steps // (algorithm.block_length * num_envs)
    engine = CompiledEngine(algorithm, algorithm.agent(spec), mdp.compiled(), spec, iterations, batched)
    loop = engine.init(jnp.arange(seeds) if batched else 0)
    for first in range(0, iterations, engine.chunk):
        loop, metrics = engine.advance(loop, min(engine.chunk, iterations - first), True)
    state = jax.device_get(loop.agent)
    return state if batched else jax.tree.map(lambda leaf: leaf[None], state), metrics


def walk(length: int = 400) -> list[tuple[int, int, float, bool, bool, int]]:
    """A random history: s, a, r, terminated, truncated, s'."""
    rng = np.random.default_rng(0)
    mdp = MDP.from_gymnasium("FrozenLake-v1")
    steps, s = [], 0
    for t in range(length):
        a = int(rng.integers(4))
        k = rng.choice(3, p=mdp.probability[s, a])
        s_next, r = int(mdp.next_state[s, a, k]), float(mdp.reward[s, a, k] + rng.normal())
        terminated, truncated = bool(mdp.terminal[s_next]), t % 50 == 49
        steps.append((s, a, r, terminated, truncated, s_next))
        s = 0 if terminated or truncated else s_next
    return steps


def learnt_from(algorithm, steps, extras=lambda t: ()):
    """The states of the agent, one after each step of a history."""
    agent = algorithm.agent(spec_of(MDP.from_gymnasium("FrozenLake-v1"), len(steps)))
    state, states = agent.init(jax.random.key(0)), []
    learn = jax.jit(lambda state, block, key: agent.learn(agent.observe(state, block), block, key))
    for t, (s, a, r, terminated, truncated, s_next) in enumerate(steps):
        block = Step(*(np.array([[x]]) for x in (s, a, np.float32(r), terminated, truncated, s_next)), extras(t))
        state, _ = learn(state, block, jax.random.key(t))
        states.append(state)
    return states


def played_block(length: int = 400) -> list:
    """The walk as the leaves of one block [T, 1]."""
    columns = zip(*walk(length), strict=True)
    kinds = (np.int32, np.int32, np.float32, bool, bool, np.int32)
    return [np.array(column, kind)[:, None] for column, kind in zip(columns, kinds, strict=True)]


def learnt_from_block(algorithm, extras=()):
    agent = algorithm.agent(spec_of(MDP.from_gymnasium("FrozenLake-v1"), 400))
    return jax.jit(agent.learn)(agent.init(jax.random.key(0)), Step(*played_block(), extras), jax.random.key(0))[0]


def episodes_of(steps) -> list[list]:
    episodes = [[]]
    for step in steps:
        episodes[-1].append(step)
        if step[3] or step[4]:
            episodes.append([])
    return [episode for episode in episodes if episode]
