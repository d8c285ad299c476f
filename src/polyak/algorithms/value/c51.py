"""C51 (Bellemare, Dabney and Munos, 2017, "A distributional perspective on reinforcement learning").

    theta <- theta - alpha d/dtheta KL(projection of r + gamma (1 - terminated) Z_target(s', a*) || Z_theta(s, a))

The network answers with a distribution of the return for each action: probabilities of `n_atoms` returns at equal
distances from `v_min` to `v_max`. Actions are judged by the mean. The rest is DQN with all its arguments.

Deviation: Adam's eps is 1e-8 by default; the paper has 0.01 / 32.
"""

import dataclasses
from typing import ClassVar

from polyak.agent import Agent, Spec
from polyak.parts import categorical, networks
from polyak.parts import replay as replays
from polyak.parts.exploration import Exploration
from polyak.parts.optimise import Adam, Optimizer


@dataclasses.dataclass(frozen=True)
class C51:
    """C51: learns the distribution of returns on fixed atoms from a replay memory, for discrete actions."""

    name: ClassVar[str] = "c51"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = False

    learning_rate: float = 2.5e-4
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
    n_atoms: int = 51
    """Returns that a distribution is about."""
    v_min: float = -10.0
    """The least of them, in units of return."""
    v_max: float = 10.0
    """The largest of them; returns beyond the two count as the nearer one."""
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
    """What computes the distributions: mlp, dueling, minatar, nips, nature, impala."""

    @property
    def block_length(self) -> int:
        return self.train_freq

    def agent(self, spec: Spec) -> Agent:
        return categorical.agent(self, spec)
