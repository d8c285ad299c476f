"""IQN (Dabney et al., 2018, "Implicit quantile networks for distributional reinforcement learning").

    Z_theta(s, a; tau) = f(psi(s) * phi(tau))_a,   phi(tau) = relu(W (cos(pi i tau))_(i = 0 .. 63) + b)
    theta <- theta - alpha d/dtheta sum_i mean_j |tau_i - 1[u_ij < 0]| huber(u_ij),
    u_ij = r + gamma (1 - terminated) Z_target(s', a*; tau'_j) - Z_theta(s, a; tau_i)

QR-DQN for every fraction tau at once: tau is an input of the network, and is drawn anew each time the network is asked.
The value of an action is the mean over the fractions drawn. The rest is DQN with all its arguments.

Deviations: as many fractions are drawn for acting as for either side of the loss (K = N = N'); the transitions of a
batch share them, so that phi is computed for N fractions and not for N times the batch; a policy that does not explore
takes the middles of equal shares instead; psi includes the network's hidden layers, and f is its last one.
"""

import dataclasses
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec
from polyak.ops import distributional
from polyak.parts import deep_q, hyper, networks, replay as replays
from polyak.parts.networks.layers import linear, uniform, with_noise
from polyak.parts.networks.perceptrons import make_perceptron, make_streams
from polyak.parts.optimise import Adam
from polyak.parts.q_network import QNetwork, num_actions
from polyak.parts.ranges import Count

COSINES = 64  # that show a fraction to the network


@dataclasses.dataclass(frozen=True)
class IQN:
    """IQN: learns every quantile of returns from a replay memory, for discrete actions."""

    name: ClassVar[str] = "iqn"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = False
    flow: ClassVar[str] = "replay"

    learning_rate: hyper.LearningRate = 2.5e-4
    gamma: hyper.Gamma = 0.99
    buffer_size: hyper.BufferSize = 100_000
    learning_starts: hyper.LearningStarts = 1_000
    batch_size: hyper.BatchSize = 64
    train_freq: hyper.TrainFreq = 4
    gradient_steps: hyper.GradientSteps = 1
    target_update_interval: hyper.TargetUpdateInterval = 1_000
    tau: hyper.Tau = 1.0
    exploration_fraction: hyper.ExplorationFraction = 0.1
    exploration_initial_eps: hyper.ExplorationInitialEps = 1.0
    exploration_final_eps: hyper.ExplorationFinalEps = 0.05
    exploration: hyper.NetworkExploration = None
    anneal_learning_rate: hyper.AnnealLearningRate = False
    max_grad_norm: hyper.MaxGradNorm = 10.0
    n_steps: hyper.NStepReturn = 1
    n_quantiles: Count = 32
    """Fractions that are drawn each time the network is asked."""
    huber_delta: hyper.QuantileHuberDelta = 1.0
    double: hyper.Double = False
    replay: hyper.Replay = replays.Uniform()
    frame_stack: hyper.FrameStack = 1
    normalize_observation: hyper.NormalizeObservation = False
    optimizer: hyper.Optimizer = Adam()
    network: networks.Network = networks.MLP(hidden=(256, 256))
    """The network whose last layer is f and all before it psi: mlp, dueling, minatar, nips, nature, impala."""

    @property
    def block_length(self) -> int:
        return self.train_freq

    def agent(self, spec: Spec) -> Agent:
        def values(answer: Answer) -> Array:
            return answer.quantiles.mean(-1)

        def loss(now: Answer, a_tm1: Array, r_t: Array, discount_t: Array, then: Answer, selector: Array):
            target = distributional.quantile_target(r_t, discount_t, then.quantiles, selector)
            taken = now.quantiles[a_tm1]
            return deep_q.Loss(
                loss=distributional.quantile_huber(taken, now.taus, target, self.huber_delta),
                priority=jnp.abs(target.mean() - taken.mean()),
            )

        outputs = num_actions(self, spec)

        def init(key: Key) -> ImplicitNetwork:
            return implicit_network(self.network, key, spec.observation_space, outputs, self.n_quantiles)

        draw = networks.noise(init)

        def noise(key: Key, shape: tuple[int, ...]) -> Noise:
            tau_key, layer_key = jax.random.split(key)
            return Noise(jax.random.uniform(tau_key, (*shape, self.n_quantiles)), draw(layer_key, shape))

        return deep_q.agent(self, spec, QNetwork(init, noise), values, loss)


class Noise(NamedTuple):
    """The noise of one call of the network."""

    taus: Array  # [..., N], or [N] for a whole batch
    layers: PyTree  # of noisy layers


class Answer(NamedTuple):
    """Quantiles of the returns from a state."""

    quantiles: Array  # [..., A, N]
    taus: Array  # [..., N] their fractions


class ImplicitNetwork(networks.Weights):
    """f(psi(x) * phi(tau))."""

    psi: Callable[[Array], Array]  # x [..., n] -> [..., width]
    phi: Callable[[Array], Array]  # cosines [..., COSINES] -> [..., width]
    f: networks.Module  # [..., width] -> [..., A]
    fractions: int = eqx.field(static=True)  # N, where they are not given

    def __call__(self, x: Array, noise: Noise | None = None) -> Answer:
        if noise is None:
            taus = distributional.midpoints(self.fractions)
        else:
            taus = noise.taus
            self = with_noise(self, jax.tree.map(lambda leaf: leaf[..., None, :], noise.layers))  # for all taus
        cosines = distributional.cosine_features(taus, COSINES)
        width = self.psi(x[..., None, :]) * jax.nn.relu(self.phi(cosines))
        quantiles = jnp.swapaxes(self.f(width), -1, -2)
        return Answer(quantiles, jnp.broadcast_to(taus, (*x.shape[:-1], self.fractions)))


def implicit_network(
    network: networks.Network, key: Key, space: gymnasium.Space, outputs: int, fractions: int
) -> ImplicitNetwork:
    """Makes psi from all of `network` but its last layer, which becomes f."""
    psi_key, phi_key, f_key = jax.random.split(key, 3)
    psi, width = network.torso(psi_key, space, uniform)
    make = make_streams if network.dueling else make_perceptron
    last = networks.MLP(hidden=(), noisy=network.noisy)
    phi = linear(phi_key, COSINES, width, uniform)
    return ImplicitNetwork(psi, phi, make(f_key, width, outputs, last, uniform, uniform), fractions)
