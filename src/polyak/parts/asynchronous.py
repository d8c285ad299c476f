"""Learning from an older policy's steps, as many machines do: here in one program, and the same in every run.

Asynchrony means that parameters have moved on by the time that steps, or gradients, which were made with them are
learnt from. By how much is a matter of luck on a cluster; here it is an argument, or drawn from the seed.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Step, published


class Lagging(NamedTuple):
    """The state of an agent that acts with its policy of L updates ago."""

    learner: PyTree  # the agent's state
    acting: PyTree  # what was published L updates ago
    newer: PyTree  # [L, ...] what was published since
    oldest: Array  # [] int32, the row of `newer` that acts next


def lagging(agent: Agent, updates: int) -> Agent:
    """The same agent, but it explores with the policy that it had some updates ago.

    This is what happens on a cluster where blocks of steps wait in a queue of that length before they are learnt from.

    Args:
        agent: learns, and chooses greedy actions.
        updates: L, how many; with 0 the agent is returned as it is.

    Source: Espeholt et al. (2018), "IMPALA: scalable distributed deep-RL with importance weighted actor-learner
    architectures", section 5.2.2, where the lag is fixed in the same way to study it.
    """
    if updates == 0:
        return agent

    def init(key: Key) -> Lagging:
        learner = agent.init(key)
        acting = published(agent, learner)
        return Lagging(learner, acting, _copies(acting, updates), jnp.int32(0))

    def act(state: PyTree, carry: PyTree, obs: PyTree, noise: PyTree, explore: bool):
        if isinstance(state, Lagging):
            state = state.acting if explore else state.learner
        return agent.act(state, carry, obs, noise, explore)

    def observe(state: Lagging, block: Step) -> Lagging:
        return state._replace(learner=agent.observe(state.learner, block))

    def learn(state: Lagging, block: Step, key: Key) -> tuple[Lagging, dict[str, Array]]:
        learner, metrics = agent.learn(state.learner, block, key)
        acting = _row(state.newer, state.oldest)
        newer = _with_row(state.newer, state.oldest, published(agent, learner))
        return Lagging(learner, acting, newer, (state.oldest + 1) % updates), metrics

    def cut(state: Lagging, which: Array) -> Lagging:
        return state._replace(learner=agent.cut(state.learner, which))

    return agent._replace(
        init=init,
        act=act,
        observe=observe,
        learn=learn,
        policy=lambda state: agent.policy(state.learner),
        cut=cut,
        publish=lambda state: published(agent, state.learner),
        gradient=None,
        apply=None,
    )


class Asynchronous(NamedTuple):
    """The state of W workers that share a learner."""

    learner: PyTree  # the state of the agent, which all workers move
    workers: PyTree  # [W, ...] what each worker copied of it before its present block


def asynchronous(agent: Agent, num_workers: int) -> Agent:
    """Workers that act with copies of shared parameters, and move these by gradients at their copies, one by one.

    Environment w is worker w's. When it has played a block, a worker computes a gradient at its copy, applies it to the
    shared parameters, which others have moved meanwhile, and copies them anew. The order of the workers is drawn for
    each block, so that a gradient is applied W - 1 updates after its parameters were copied on average, and at most
    2 W - 2. What the optimizer keeps is shared too.

    Args:
        agent: of one environment; it has `gradient` and `apply`.
        num_workers: W.

    Source: Mnih et al. (2016), "Asynchronous methods for deep reinforcement learning", section 4.
    """
    compute, apply = agent.gradient, agent.apply
    assert compute is not None and apply is not None

    def init(key: Key) -> Asynchronous:
        learner = agent.init(key)
        return Asynchronous(learner, _copies(published(agent, learner), num_workers))

    def act(state: PyTree, carry: PyTree, obs: PyTree, noise: PyTree, explore: bool):
        if not isinstance(state, Asynchronous) or not explore:
            learner = state.learner if isinstance(state, Asynchronous) else state
            return agent.act(learner, carry, obs, noise, explore)

        def alone(worker: PyTree, *inputs: PyTree) -> PyTree:
            batch = jax.tree.map(lambda leaf: leaf[None], inputs)
            return jax.tree.map(lambda leaf: leaf[0], agent.act(worker, *batch, True))

        return jax.vmap(alone)(state.workers, carry, obs, noise)

    def gradient(copy: PyTree, steps: Step, key: Key) -> tuple[PyTree, Step]:
        return compute(copy, steps, key), steps

    def move(state: Asynchronous, found: tuple[PyTree, Step]) -> tuple[Asynchronous, dict[str, Array]]:
        of_parameters, steps = found
        learner, metrics = apply(agent.observe(state.learner, steps), of_parameters)
        return state._replace(learner=learner), metrics

    def learn(state: Asynchronous, block: Step, key: Key) -> tuple[Asynchronous, dict[str, Array]]:
        order_key, key = jax.random.split(key)

        def turn(state: Asynchronous, at: tuple[Array, Key]) -> tuple[Asynchronous, dict[str, Array]]:
            worker, key = at
            steps = jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, worker, 1, axis=1), block)
            state, metrics = move(state, gradient(_row(state.workers, worker), steps, key))
            copy = published(agent, state.learner)
            return state._replace(workers=_with_row(state.workers, worker, copy)), metrics

        order = jax.random.permutation(order_key, num_workers)
        state, metrics = jax.lax.scan(turn, state, (order, jax.random.split(key, num_workers)))
        return state, {name: values.mean() for name, values in metrics.items()}

    return agent._replace(
        init=init,
        act=act,
        observe=lambda state, block: state,  # `learn` has the learner observe each worker's steps
        learn=learn,
        policy=lambda state: agent.policy(state.learner),
        cut=lambda state, which: state,
        publish=lambda state: published(agent, state.learner),
        gradient=gradient,
        apply=move,
    )


def _copies(tree: PyTree, count: int) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), tree)


def _row(tree: PyTree, at: Array) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[at], tree)


def _with_row(tree: PyTree, at: Array, row: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf, new: leaf.at[at].set(new), tree, row)
