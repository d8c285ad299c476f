"""Proximal policy optimisation (Schulman et al., 2017, "Proximal policy optimization algorithms").

    loss = -min(rho A, clip(rho, 1 - eps, 1 + eps) A) + c_v (V(s) - G)^2 / 2 - c_e H(pi(.|s)),  rho = pi / pi_old

for several epochs over each block of fresh steps, with A from generalised advantage estimation and G = A + V_old(s).

Deviations: V is computed for the true successor of every step, so a step cut by the clock keeps its bootstrap, which
the published code and most that follow it lose. What else of "The 37 implementation details of PPO" (Huang et al.,
2022) concerns vector observations is here, each as an argument.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec, Step, forget, no_memory
from polyak.errors import BadSetting
from polyak.ops import policy_gradient, returns, td
from polyak.parts import networks
from polyak.parts.distributions import distribution
from polyak.parts.minibatches import check_batch_size, shuffled
from polyak.parts.normalise import Moments
from polyak.parts.optimise import adam
from polyak.parts.schedules import linear


@dataclasses.dataclass(frozen=True)
class PPO:
    """Proximal policy optimisation: improves a stochastic policy in small steps, for actions of every kind."""

    name: ClassVar[str] = "ppo"
    default_num_envs: ClassVar[int] = 8
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = False
    learning_starts: ClassVar[int] = 0

    learning_rate: float = 3e-4
    """Step size of Adam."""
    n_steps: int = 128
    """Steps of every environment between two rounds of updates."""
    batch_size: int = 256
    """Steps per gradient step; divides n_steps x num_envs."""
    n_epochs: int = 4
    """Passes over each block of steps."""
    gamma: float = 0.99
    """Discount per step, in [0, 1]."""
    gae_lambda: float = 0.95
    """Lambda of the advantage estimate: 0 trusts the value, 1 the returns."""
    clip_range: float = 0.2
    """How far the probability of an action may move, as a share, before its gradient is cut."""
    clip_range_vf: float | None = None
    """The same for the value's prediction, in units of return; None leaves it free."""
    normalize_advantage: bool = True
    """Give the advantages of each minibatch mean 0 and deviation 1."""
    ent_coef: float = 0.0
    """Weight of the entropy bonus."""
    vf_coef: float = 0.5
    """Weight of the value loss."""
    max_grad_norm: float = 0.5
    """Norm at which the gradient is clipped."""
    target_kl: float | None = None
    """End a round of updates once the policy has moved 1.5 times this far, in nats."""
    anneal_learning_rate: bool = False
    """Let the learning rate fall linearly to 0 over the run."""
    anneal_clip_range: bool = False
    """Let the clip range fall linearly to 0 over the run."""
    log_std_init: float = 0.0
    """Log of the standard deviation that actions begin with, where they are numbers."""
    state_dependent_std: bool = False
    """Let the network answer the deviations too; else they are parameters of their own."""
    squash: bool = False
    """Keep actions that are numbers within their bounds by tanh; else they are clipped."""
    normalize_observation: bool = False
    """Standardise observations by their running mean and deviation."""
    normalize_reward: bool = False
    """Divide rewards by the running deviation of the discounted return."""
    network: networks.Network = networks.MLP(hidden=(64, 64), activation="tanh")
    """Used once for the policy and once for the value: mlp, minatar, nips, nature, impala."""

    @property
    def block_length(self) -> int:
        return self.n_steps

    def agent(self, spec: Spec) -> Agent:
        if isinstance(spec.action_space, gymnasium.spaces.Dict | gymnasium.spaces.Tuple):
            raise BadSetting(f"PPO needs actions of one kind so far, and this environment's are {spec.action_space}.")
        block_size = self.n_steps * spec.num_envs
        check_batch_size("PPO", self.batch_size, self.n_steps, spec.num_envs)
        actions = distribution(spec.action_space, self.log_std_init, self.state_dependent_std, self.squash)
        encode = networks.encode(spec.observation_space)
        optimiser = adam(self.max_grad_norm, eps=1e-5)

        def init(key: Key) -> State:
            policy_key, value_key = jax.random.split(key)
            hidden = networks.orthogonal(2**0.5)
            space = spec.observation_space
            policy = self.network.init(policy_key, space, actions.outputs, hidden, networks.orthogonal(0.01))
            value = self.network.init(value_key, space, 1, hidden, networks.orthogonal(1.0))
            parameters = Parameters(policy, actions.free(), value)
            features = Moments.of((networks.num_features(space),)) if self.normalize_observation else ()
            rewards = RewardScale(Moments.of(()), jnp.zeros(spec.num_envs)) if self.normalize_reward else ()
            return State(parameters, optimiser.init(parameters), features, rewards, jnp.int32(0))

        def features(state: State, obs: Array) -> Array:
            return state.features.standardise(encode(obs)) if self.normalize_observation else encode(obs)

        def chances(parameters: Parameters, x: Array) -> PyTree:
            return actions.parameters(parameters.policy(x), parameters.free)

        def act(state: State, carry: tuple[()], obs: Array, noise: PyTree, explore: bool):
            pi = chances(state.parameters, features(state, obs))
            draw = actions.sample(pi, noise) if explore else actions.mode(pi)
            extras = Extras(draw, actions.log_prob(pi, draw)) if explore else ()
            return actions.action(draw), carry, extras

        def observe(state: State, block: Step) -> State:
            if self.normalize_observation:
                seen = encode(block.obs).reshape(block_size, -1)
                state = state._replace(features=state.features.update(seen))
            if self.normalize_reward:
                continues = 1.0 - (block.terminated | block.truncated)
                total, sums = jax.vmap(returns.discounted_sums, (1, 1, None, 0))(
                    block.reward, continues, self.gamma, state.rewards.total
                )
                state = state._replace(rewards=RewardScale(state.rewards.moments.update(sums.reshape(-1)), total))
            return state._replace(step=state.step + block_size)

        def samples(state: State, block: Step) -> Samples:
            x, next_x = features(state, block.obs), features(state, block.next_obs)
            value, next_value = state.parameters.value(x)[..., 0], state.parameters.value(next_x)[..., 0]
            reward = state.rewards.moments.scale(block.reward) if self.normalize_reward else block.reward
            discount = td.discount(block.terminated, self.gamma)
            continues = 1.0 - (block.terminated | block.truncated)
            gae = jax.vmap(returns.generalised_advantage, (1, 1, 1, 1, 1, None), 1)
            advantage = gae(reward, discount, value, next_value, continues, self.gae_lambda)
            batch = Samples(x, block.extras.draw, block.extras.log_prob, advantage, value, advantage + value)
            return jax.tree.map(lambda leaf: leaf.reshape(block_size, *leaf.shape[2:]), batch)

        def loss(parameters: Parameters, batch: Samples, clip_range: Array) -> tuple[Array, dict[str, Array]]:
            pi, value = chances(parameters, batch.x), parameters.value(batch.x)[..., 0]
            advantage = batch.advantage
            if self.normalize_advantage:
                advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
            log_ratio = actions.log_prob(pi, batch.draw) - batch.log_prob
            policy_loss = policy_gradient.clipped_surrogate(log_ratio, advantage, clip_range).mean()
            value_loss = policy_gradient.clipped_value_loss(value, batch.value, batch.target, self.clip_range_vf).mean()
            entropy = actions.entropy(pi).mean()
            metrics = {
                "policy_loss": policy_loss,
                "value_loss": value_loss,
                "entropy": entropy,
                "kl": policy_gradient.approximate_kl(log_ratio).mean(),
                "clip_fraction": (jnp.abs(jnp.expm1(log_ratio)) > clip_range).mean(),
            }
            return policy_loss + self.vf_coef * value_loss - self.ent_coef * entropy, metrics

        def learn(state: State, block: Step, key: Key) -> tuple[State, dict[str, Array]]:
            before = state.step - block_size
            learning_rate, clip_range = (
                linear(before, start, 0.0, spec.total_steps) if anneal else jnp.float32(start)
                for start, anneal in (
                    (self.learning_rate, self.anneal_learning_rate),
                    (self.clip_range, self.anneal_clip_range),
                )
            )
            data = samples(state, block)

            def gradient_step(carry: tuple[Parameters, PyTree, Array], indices: Array):
                parameters, optimiser_state, near = carry
                batch = data if self.batch_size == block_size else jax.tree.map(lambda leaf: leaf[indices], data)
                (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(parameters, batch, clip_range)
                new_parameters, new_optimiser, norm = optimiser.update(
                    parameters, gradient, optimiser_state, learning_rate, value
                )
                if self.target_kl is not None:
                    near = near & (metrics["kl"] <= 1.5 * self.target_kl)
                    new_parameters, new_optimiser = jax.tree.map(
                        lambda new, old: jnp.where(near, new, old),
                        (new_parameters, new_optimiser),
                        (parameters, optimiser_state),
                    )
                return (new_parameters, new_optimiser, near), {"loss": value, "gradient_norm": norm, **metrics}

            orders = shuffled(key, block_size, self.batch_size, self.n_epochs)
            (parameters, optimiser_state, _), metrics = jax.lax.scan(
                gradient_step, (state.parameters, state.optimiser, jnp.bool_(True)), orders
            )
            metrics = {name: values.mean() for name, values in metrics.items()}
            unexplained = jnp.var(data.target - data.value) / (jnp.var(data.target) + 1e-8)
            metrics |= {"explained_variance": 1.0 - unexplained, "learning_rate": learning_rate}
            return state._replace(parameters=parameters, optimiser=optimiser_state), metrics

        def policy(state: State) -> State:
            return state._replace(parameters=state.parameters._replace(value=()), optimiser=(), rewards=())

        def cut(state: State, which: Array) -> State:
            if not self.normalize_reward:
                return state
            return state._replace(rewards=state.rewards._replace(total=forget(state.rewards.total, which)))

        return Agent(init, no_memory, actions.noise, act, observe, learn, policy, cut)


class Parameters(NamedTuple):
    """Two networks that share nothing."""

    policy: PyTree
    free: PyTree  # what else the distribution over actions has: log-deviations that no observation changes
    value: PyTree


class RewardScale(NamedTuple):
    """What `normalize_reward` measures."""

    moments: Moments  # of the discounted sums
    total: Array  # [B] the discounted sum of each environment's episode so far


class State(NamedTuple):
    """All that a PPO agent knows."""

    parameters: Parameters
    optimiser: PyTree
    features: PyTree  # Moments of the encoded observations; () unless they are normalised
    rewards: PyTree  # a RewardScale; () unless rewards are normalised
    step: Array  # [] int32, environment steps observed


class Extras(NamedTuple):
    """What acting tells learning."""

    draw: PyTree  # [T, B, ...] what the action was made of
    log_prob: Array  # [T, B] of it, under the policy that made it


class Samples(NamedTuple):
    """A block made ready for the loss; leaves [N, ...]."""

    x: Array  # features
    draw: PyTree
    log_prob: Array
    advantage: Array
    value: Array  # V_old(s)
    target: Array  # G
