"""Rainbow (Hessel et al., 2018, "Rainbow: combining improvements in deep reinforcement learning").

    theta <- theta - alpha d/dtheta w KL(projection of R_n + gamma^n Z_target(s', a*) || Z_theta(s, a))
    a* = argmax_a E Z_theta(s', a)

C51's loss with five other improvements as defaults: double Q-learning, prioritised replay (with the divergence as the
priority), a dueling network, n-step returns, and noisy layers that explore in place of epsilon. Each can be taken away
by its argument, as in the paper's ablations.

Noise of the weights is drawn anew for every environment at every step, and for every network in every update, where the
transitions of a batch share it.
"""

import dataclasses
from typing import ClassVar

from polyak.agent import Agent, Spec
from polyak.parts import categorical, networks
from polyak.parts import replay as replays
from polyak.parts.exploration import Exploration, Greedy
from polyak.parts.optimise import Adam, Optimizer


@dataclasses.dataclass(frozen=True)
class Rainbow:
    """Rainbow: C51 with double, dueling, prioritised, n-step and noisy, for discrete actions."""

    name: ClassVar[str] = "rainbow"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = False

    learning_rate: float = 6.25e-5
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
    exploration: Exploration | None = Greedy()
    """What explores in place of the three above: greedy, epsilon:FIRST:LAST:SHARE, ladder, boltzmann, noise."""
    anneal_learning_rate: bool = False
    """Let the learning rate fall linearly to 0 over the run, which steadies the final policy."""
    max_grad_norm: float = 10.0
    """Norm at which the gradient is clipped."""
    n_steps: int = 3
    """Rewards that are summed before a value stands for the rest (not corrected for the actions in between)."""
    n_atoms: int = 51
    """Returns that a distribution is about."""
    v_min: float = -10.0
    """The least of them, in units of return."""
    v_max: float = 10.0
    """The largest of them; returns beyond the two count as the nearer one."""
    double: bool = True
    """Let the online network choose the action that the target network judges."""
    replay: replays.Setting = replays.Prioritised(alpha=0.5)
    """Which transitions are drawn: uniform, prioritised."""
    frame_stack: int = 1
    """Frames of an observation, where it is a stack of the newest ones: the memory then keeps each frame once."""
    normalize_observation: bool = False
    """Standardise observations by their running mean and deviation."""
    optimizer: Optimizer = Adam(eps=1.5e-4)
    """What moves the parameters: adam, radam, rmsprop."""
    network: networks.Network = networks.Dueling(hidden=(256, 256), noisy=0.5)
    """What computes the distributions: dueling, mlp, minatar, nips, nature, impala; noisy, as nothing else explores."""

    @property
    def block_length(self) -> int:
        return self.train_freq

    def agent(self, spec: Spec) -> Agent:
        return categorical.agent(self, spec)
