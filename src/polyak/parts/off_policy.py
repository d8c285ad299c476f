"""Rounds of gradient steps on what a memory draws: what all off-policy methods share, whatever they learn.

A method brings a *learner*, a pytree with any number of networks, target networks and states of optimizers, and a
function that makes one gradient step:

    learner, priorities, metrics = step(learner, sample, noise, learning_rate)

`rounds` makes many of them, for which there need be no environment: a memory that was filled from a data set will do.
`learning` fits them to the blocks of steps that an engine hands to `Agent.learn`; the learner is then the agent's state
without its replay memory.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar

import jax
import jax.numpy as jnp

from polyak.agent import Array, Key, PyTree, Spec
from polyak.parts.optimise import polyak_average
from polyak.parts.replay import Memory, Sample
from polyak.parts.schedules import linear_schedule

Metrics = dict[str, Array]
Learner = TypeVar("Learner")
GradientStep = Callable[[Learner, Sample, PyTree, Array], tuple[Learner, Array, Metrics]]
"""(learner, sample, noise, learning_rate []) -> learner, priorities [N] of the sample's steps, metrics [] each."""


class Hyper(Protocol):
    """The hyperparameters that `learning` reads; `parts.hyper` says what they mean."""

    @property
    def learning_rate(self) -> float: ...
    @property
    def anneal_learning_rate(self) -> bool: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def train_freq(self) -> int: ...
    @property
    def gradient_steps(self) -> int: ...


class State(Protocol):
    """The fields of an agent's state, a NamedTuple, that `learning` reads."""

    @property
    def replay(self) -> PyTree: ...  # the memory
    @property
    def step(self) -> Array: ...  # [] int32, environment steps observed
    @property
    def learnt(self) -> Any: ...  # [] int32, environment steps learnt from, see `counted`; () in a policy
    def _replace(self: "AnyState", **changes: Any) -> "AnyState": ...


AnyState = TypeVar("AnyState", bound=State)


def no_noise(key: Key) -> tuple[()]:
    """The noise of a gradient step in which nothing is random but the sample."""
    return ()


def rounds(
    memory: Memory,
    count: int,
    batch_size: int,
    step: GradientStep[Learner],
    noise: Callable[[Key], PyTree] = no_noise,
) -> Callable[[Learner, PyTree, Key, Array, Array], tuple[Learner, PyTree, Metrics]]:
    """Makes the function that improves a learner by a round of gradient steps.

    Args:
        memory: what samples are drawn from.
        count: the gradient steps of a round.
        batch_size: N, the size of a sample.
        step: makes one of them.
        noise: key -> all that is random in a gradient step, the sample aside.

    Returns:
        (learner, memory's state, key, progress [], learning_rate []) -> the learner, the memory's state with new
        priorities, and the means of the metrics. Progress is the share of the run that is over, in [0, 1]. While the
        memory is empty, no step is made and the metrics are 0.
    """

    def improve(learner: Learner, replay: PyTree, key: Key, progress: Array, learning_rate: Array):
        # Drawn before the loop: inside it XLA would compute the draws of a noisy layer anew for each of its weights.
        noises = jax.vmap(noise)(jax.vmap(jax.random.fold_in, (None, 0))(key, count + jnp.arange(count)))

        @partial(jax.jit, inline=True)  # traced once, and asked for twice
        def once(i: Array, learner: Learner, replay: PyTree) -> tuple[Learner, PyTree, Metrics]:
            sample = memory.sample(replay, jax.random.fold_in(key, i), batch_size, progress)
            given = jax.tree.map(lambda leaf: leaf[i], noises)
            learner, priorities, metrics = step(learner, sample, given, learning_rate)
            return learner, memory.update(replay, sample, priorities), metrics

        def add(i: Array, carry: tuple[Learner, PyTree, Metrics]):
            learner, replay, metrics = once(i, *carry[:2])
            return learner, replay, jax.tree.map(jnp.add, carry[2], metrics)

        # Traced, because XLA unrolls a loop of one round, fuses its reads with the write of `observe`, and copies the
        # memory that it then cannot overwrite in place.
        steps = jnp.where(memory.size(replay) > 0, count, 0)
        shapes = jax.eval_shape(once, jnp.int32(0), learner, replay)[2]
        sums = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        learner, replay, sums = jax.lax.fori_loop(0, steps, add, (learner, replay, sums))
        return learner, replay, {name: total / jnp.maximum(steps, 1) for name, total in sums.items()}

    return improve


def learning(
    hyper: Hyper,
    spec: Spec,
    memory: Memory,
    step: GradientStep[AnyState],
    noise: Callable[[Key], PyTree] = no_noise,
) -> Callable[[AnyState, Key], tuple[AnyState, Metrics]]:
    """Makes what `Agent.learn` does once it has `counted` a block: a round of gradient steps, as many as the
    hyperparameters say.

    Args:
        hyper: the hyperparameters.
        spec: the task.
        memory: what samples are drawn from; its state is the field `replay` of the agent's.
        step: makes a gradient step of the agent's state, in which `replay` is () meanwhile.
        noise: key -> all that is random in a gradient step, the sample aside.

    Returns:
        (state, key) -> state, metrics: those of `step`, and the memory's.
    """
    block_size = hyper.train_freq * spec.num_envs
    count = block_size if hyper.gradient_steps == -1 else hyper.gradient_steps
    improve = rounds(memory, count, hyper.batch_size, step, noise)

    def learn(state: AnyState, key: Key) -> tuple[AnyState, Metrics]:
        progress = jnp.minimum(state.learnt / spec.total_steps, 1.0)
        learning_rate = jnp.float32(hyper.learning_rate)
        if hyper.anneal_learning_rate:
            learning_rate = linear_schedule(state.learnt, hyper.learning_rate, 0.0, spec.total_steps)
        learner, replay, metrics = improve(state._replace(replay=()), state.replay, key, progress, learning_rate)
        return learner._replace(replay=replay), metrics | memory.metrics(replay)

    return learn


def counted(state: Any, block_size: int) -> Any:
    """Counts one more block of environment steps, of `block_size`, that is learnt from; `Agent.learn` begins with it.

    The count begins with the steps that were observed before learning began. So it is the number of steps observed
    where every block is learnt from once, and goes on where `learn` is called without new steps: schedules and targets
    follow it.
    """
    before = jnp.where(state.learnt > 0, state.learnt, jnp.maximum(state.step - block_size, 0))
    return state._replace(learnt=before + block_size)


def renewed(target: PyTree, online: PyTree, learnt: Array, every: int, block_size: int, tau: float) -> PyTree:
    """A target network before a block is learnt from, moved towards the online one where it is due.

    Args:
        target: the target network.
        online: the network that it follows.
        learnt: [] environment steps learnt from, the block's included; see `counted`.
        every: steps learnt from between two renewals; one is due in the block that reaches a multiple of them.
        block_size: steps of the block.
        tau: how far it moves; 1 is a copy.
    """
    passed = learnt // every > (learnt - block_size) // every
    return jax.lax.cond(passed, lambda: polyak_average(target, online, tau), lambda: target)
