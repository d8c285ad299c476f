"""Deep Q-network (Mnih et al., 2015, "Human-level control through deep reinforcement learning").

    theta <- theta - alpha d/dtheta huber(r + gamma (1 - terminated) max_a Q_target(s', a) - Q_theta(s, a))

on transitions drawn from a replay memory, with Q_target a copy of Q_theta that is renewed now and then. What came later
is an argument each: `double` lets Q_theta choose the action that Q_target judges (van Hasselt et al., 2016); `n_steps`
sums that many rewards before Q_target stands for the rest (Hessel et al., 2018); `replay="prioritised"` draws what errs
most (Schaul et al., 2016); `network="dueling"` splits value and advantage (Wang et al., 2016); a `noisy` network with
`exploration="greedy"` explores by noise in its weights (Fortunato et al., 2018).

Deviations: Adam by default, RMSProp by `optimizer`; the gradient's norm is clipped, besides the Huber loss that clips
each error; the steps before `learning_starts` follow the epsilon schedule, which is near 1 there, instead of a uniform
policy.
"""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp

from polyak.agent import Agent, Array, Spec
from polyak.ops import td
from polyak.parts import deep_q, networks
from polyak.parts import replay as replays
from polyak.parts.exploration import Exploration
from polyak.parts.optimise import Adam, Optimizer


@dataclasses.dataclass(frozen=True)
class DQN:
    """Deep Q-network: learns action values from a replay memory, for discrete actions."""

    name: ClassVar[str] = "dqn"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = False

    learning_rate: float = 1e-4
    """Step size of the optimizer."""
    gamma: float = 0.99
    """Discount per step, in [0, 1]."""
    buffer_size: int = 100_000
    """Transitions that the replay memory holds."""
    learning_starts: int = 1_000
    """Environment steps before the first update."""
    batch_size: int = 64
    """Transitions per gradient step."""
    train_freq: int = 4
    """Steps of every environment between two rounds of updates."""
    gradient_steps: int = 1
    """Gradient steps per round; -1 for as many as transitions were collected."""
    target_update_interval: int = 1_000
    """Environment steps between two renewals of the target network."""
    tau: float = 1.0
    """How far a renewal moves the target towards the online network; 1 is a copy."""
    exploration_fraction: float = 0.1
    """Share of the run over which epsilon falls from its first value to its last."""
    exploration_initial_eps: float = 1.0
    """Epsilon at the first step."""
    exploration_final_eps: float = 0.05
    """Epsilon once the schedule is over."""
    exploration: Exploration | None = None
    """What explores in place of the three above: greedy, epsilon:FIRST:LAST:SHARE, ladder, boltzmann, noise."""
    anneal_learning_rate: bool = False
    """Let the learning rate fall linearly to 0 over the run, which steadies the final policy."""
    max_grad_norm: float = 10.0
    """Norm at which the gradient is clipped."""
    n_steps: int = 1
    """Rewards that are summed before a value stands for the rest (not corrected for the actions in between)."""
    huber_delta: float = 1.0
    """TD error, in units of return, beyond which the loss grows linearly; above all errors it is the squared loss."""
    double: bool = False
    """Let the online network choose the action that the target network judges."""
    replay: replays.Setting = replays.Uniform()
    """Which transitions are drawn: uniform, prioritised."""
    frame_stack: int = 1
    """Frames of an observation, where it is a stack of the newest ones: the memory then keeps each frame once."""
    normalize_observation: bool = False
    """Standardise observations by their running mean and deviation."""
    optimizer: Optimizer = Adam()
    """What moves the parameters: adam, radam, rmsprop."""
    network: networks.Network = networks.MLP(hidden=(256, 256))
    """What computes Q: mlp, dueling, minatar, nips, nature, impala."""

    @property
    def block_length(self) -> int:
        return self.train_freq

    def agent(self, spec: Spec) -> Agent:
        def lesson(q_tm1: Array, a_tm1: Array, r_t: Array, discount_t: Array, q_t: Array, q_t_selector: Array):
            error = td.double_q_learning(q_tm1, a_tm1, r_t, discount_t, q_t, q_t_selector)
            return deep_q.Lesson(loss=td.huber(error, self.huber_delta), priority=jnp.abs(error))

        model = deep_q.model(self.network, spec, deep_q.num_actions(self, spec))
        return deep_q.agent(self, spec, model, values=lambda q: q, lesson=lesson)
