"""AlphaZero (Silver et al., 2018, "A general reinforcement learning algorithm that masters chess, shogi and Go through
self-play"), with the search of Gumbel MuZero (Danihelka et al., 2022, "Policy improvement by planning with Gumbel").

A network tells of each position which moves p look good, and the result v that it expects. A search that is guided by
it finds better moves, pi, and what they are worth. The network learns to tell at once what the search has found, and
what came of it:

    loss = c (G - v)^2 - sum_a pi(a) ln p(a)        G_t = r_t - gamma G_t+1

where each step is another player's move, and G_t = r_t + gamma G_t+1 where there is one player alone. G is summed to
the end of the game, or to the end of the block of steps, where v stands for the rest.

Self-play that only follows the search meets fewer and fewer positions, and forgets the others while its losses fall.
So a share of the moves is drawn among all legal ones. What follows such a move tells nothing of the position before it,
whose G is what the search has found there.

Alone, a player has nobody to be as strong as itself. With `ranked_rewards` its opponents are its own last returns
(Laterre et al., 2018, "Ranked reward: enabling self-play reinforcement learning for combinatorial optimization"): an
episode counts 1 where its return is among the best of them, else -1.

Deviations: positions are drawn from a memory of those played last, each in one of the symmetries of its game; the
policy that plays is a running average of the networks; nobody resigns; with PUCT a move is drawn in proportion to its
visits throughout a game.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from polyak.agent import Agent, Array, Key, Position, PyTree, Simulator, Spec, Step, no_memory
from polyak.errors import BadSetting
from polyak.ops import returns
from polyak.ops.tree_search import pick
from polyak.parts import hyper, networks
from polyak.parts.distributions import RULED_OUT
from polyak.parts.optimise import Adam, polyak_average
from polyak.parts.ranges import Decay, PositiveShare, Share, Whole
from polyak.parts.ring import Ring, take
from polyak.parts.schedules import linear_schedule
from polyak.parts.simulation import Found, guided_search, key_of, legal_of, simulator_of
from polyak.spaces import row_shape

RANKED = 250  # last returns that a new one is ranked among


@dataclasses.dataclass(frozen=True)
class AlphaZero:
    """AlphaZero: a network and a search that teach each other, by self-play in games of two, or alone."""

    name: ClassVar[str] = "alphazero"
    default_num_envs: ClassVar[int] = 128
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = False
    learning_starts: ClassVar[int] = 0
    plans: ClassVar[bool] = True

    num_simulations: Whole = 32
    """Positions that each search looks at; 0 asks the network alone, once it has learnt."""
    tree_policy: Literal["gumbel", "puct"] = "gumbel"
    """What guides it: sequential halving of sampled moves (gumbel), or upper confidence bounds (puct)."""
    random_moves: Share = 0.15
    """Share of the moves that are drawn among all legal ones while it learns; without them self-play may collapse."""
    symmetries: bool = True
    """Whether positions are learnt from as they are and turned and mirrored, where the game allows it."""
    ranked_rewards: PositiveShare | None = None
    """For one player, rewarded at the end: an episode is won if its return is at least this quantile of the last."""
    learning_rate: hyper.LearningRate = 1e-3
    anneal_learning_rate: hyper.AnnealLearningRate = True
    n_steps: hyper.BlockSteps = 32
    buffer_size: hyper.BufferSize = 200_000
    batch_size: hyper.BatchSize = 1_024
    gradient_steps: hyper.GradientSteps = 16
    gamma: hyper.Gamma = 1.0
    trace_lambda: Share = 1.0
    """Lambda of G: 0 trusts what the search of the next position found, 1 what came of it in the end."""
    vf_coef: hyper.VfCoef = 1.0
    average: Decay = 0.99
    """How much of the averaged network stays at each gradient step; 0 plays with the newest."""
    max_grad_norm: hyper.MaxGradNorm = 10.0
    optimizer: hyper.Optimizer = Adam()
    network: networks.Network = networks.MLP(hidden=(256, 256, 256))
    """One network for moves and results: mlp, minatar, nips, nature, impala."""

    @property
    def block_length(self) -> int:
        return self.n_steps

    def planner(self, spec: Spec) -> Callable[["Player", Position, Key, bool], Found]:
        """The search: (what guides it, positions, key, whether it explores) -> what it found; see `guided_search`."""
        simulator = simulator_of(spec, "AlphaZero")
        answers = self._answers(spec, simulator)
        return guided_search(
            spec,
            simulator,
            lambda player, obs: answers(player.network, obs),
            -self.gamma if simulator.turns else self.gamma,
            max(1, self.num_simulations),
            self.tree_policy,
            self._earned,
        )

    def _answers(self, spec: Spec, simulator: Simulator) -> Callable[[Any, Array], tuple[Array, Array]]:
        """(network, observations [..., n]) -> the logits of the moves [..., A], and the values [...]."""
        encoded = networks.encode(spec.observation_space)
        is_bounded = simulator.turns or self.ranked_rewards is not None

        def answers(network: Any, obs: Array) -> tuple[Array, Array]:
            found = network(encoded(obs))
            value = found[..., -1]
            return found[..., :-1], jnp.tanh(value) if is_bounded else value

        return answers

    def _earned(self, player: "Player", reward: Array, terminated: Array) -> Array:
        """The rewards that count."""
        if self.ranked_rewards is None:
            return reward
        return jnp.where(terminated, jnp.where(reward >= player.threshold, 1.0, -1.0), 0.0)

    def agent(self, spec: Spec) -> Agent:
        networks.refuse_noisy("AlphaZero", self.network)
        simulator = simulator_of(spec, "AlphaZero")
        if simulator.chance:
            raise BadSetting("AlphaZero's tree has one position for each move, and chance would make it many.")
        if simulator.turns and self.ranked_rewards is not None:
            raise BadSetting("Ranked rewards are for one player alone; in a game of two leave ranked_rewards out.")
        space = spec.observation_space
        num_actions, first_action = int(spec.action_space.n), int(spec.action_space.start)  # type: ignore[attr-defined]
        block_size = self.n_steps * spec.num_envs
        discount = -self.gamma if simulator.turns else self.gamma
        answers, search = self._answers(spec, simulator), self.planner(spec)
        rule = self.optimizer.rule(self.max_grad_norm)
        ring, ranked = Ring.of(self.buffer_size, block_size), Ring(max(RANKED, block_size), 1)
        symmetric = _symmetries(simulator, self.symmetries)

        def init(key: Key) -> State:
            parameters = self.network.init(
                key, space, num_actions + 1, networks.orthogonal(2**0.5), networks.orthogonal(0.01)
            )
            example = Example(jnp.zeros(row_shape(space)), jnp.zeros(num_actions), jnp.float32(0))
            games = ranked.init(jnp.float32(0)) if self.ranked_rewards is not None else ()
            player = Player(parameters, jnp.float32(0) if self.ranked_rewards is not None else ())
            return State(parameters, player, rule.init(parameters), ring.init(example), games, jnp.int32(0))

        def noise(key: Key, shape: tuple[int, ...]) -> Noise:
            word_key, coin_key, draw_key = jax.random.split(key, 3)
            words = jax.random.bits(word_key, (*shape, 2), jnp.uint32)
            return Noise(words, jax.random.uniform(coin_key, shape), jax.random.uniform(draw_key, shape))

        def act(state: State, carry: PyTree, seen: Position, noise: Noise, explore: bool):
            legal = legal_of(space, seen.obs, num_actions)
            if not self.num_simulations and not explore:
                logits, _ = answers(state.player.network, seen.obs)
                return jnp.argmax(jnp.where(legal, logits, RULED_OUT), -1) + first_action, carry, ()
            found = search(state.player, seen, key_of(noise.words[0]), explore)
            if not explore:
                return found.action + first_action, carry, ()
            is_random = noise.coin < self.random_moves
            action = jnp.where(is_random, jax.vmap(pick)(legal, noise.draw), found.action)
            return action + first_action, carry, Extras(found.weights, found.value, is_random)

        def results(state: State, block: Step) -> Array:
            """G [T, B]."""
            over = block.terminated | block.truncated
            extras: Extras = block.extras
            last = jnp.zeros_like(over).at[-1].set(True)
            _, v_next = answers(state.player.network, block.next_obs)
            v_t = jnp.where(last | over, v_next, jnp.roll(extras.value, -1, 0))
            cut = jnp.roll(extras.random, -1, 0) | over | last  # what was played from there on tells nothing
            found = jax.vmap(returns.lambda_return, (1, 1, 1, 1, None), 1)(
                self._earned(state.player, block.reward, block.terminated),
                jnp.where(block.terminated, 0.0, discount),
                v_t,
                1.0 - cut,
                self.trace_lambda,
            )
            return jnp.where(extras.random, extras.value, found)

        def observe(state: State, block: Step) -> State:
            example = Example(block.obs, block.extras.weights, results(state, block))
            state = state._replace(replay=ring.add(state.replay, example), step=state.step + block_size)
            if self.ranked_rewards is None:
                return state
            games = ranked.add_some(state.games, block.reward.reshape(-1), block.terminated.reshape(-1))
            ages = ranked.age(games, jnp.arange(ranked.capacity))
            returned = jnp.where(ages < jnp.minimum(games.size, RANKED), games.storage, jnp.nan)
            threshold = jnp.nan_to_num(jnp.nanquantile(returned, self.ranked_rewards))  # 0 until an episode has ended
            return state._replace(games=games, player=state.player._replace(threshold=threshold))

        def loss(network: Any, batch: Example) -> tuple[Array, dict[str, Array]]:
            logits, value = answers(network, batch.obs)
            logits = jnp.where(legal_of(space, batch.obs, num_actions), logits, RULED_OUT)
            policy_loss = -jnp.sum(batch.weights * jax.nn.log_softmax(logits), -1).mean()
            value_loss = jnp.square(batch.result - value).mean()
            return policy_loss + self.vf_coef * value_loss, {"policy_loss": policy_loss, "value_loss": value_loss}

        def learn(state: State, block: Step, key: Key) -> tuple[State, dict[str, Array]]:
            learning_rate = jnp.float32(self.learning_rate)
            if self.anneal_learning_rate:
                learning_rate = linear_schedule(state.step - block_size, self.learning_rate, 0.0, spec.total_steps)

            def gradient_step(carry: tuple[PyTree, PyTree, PyTree], key: Key):
                parameters, average, moments = carry
                draw_key, symmetry_key = jax.random.split(key)
                rows = jax.random.randint(draw_key, (self.batch_size,), 0, state.replay.size)
                batch = symmetric(take(state.replay.storage, rows), symmetry_key)
                (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(parameters, batch)
                parameters, moments, norm = rule.update(parameters, gradient, moments, learning_rate, value)
                average = polyak_average(average, parameters, 1.0 - self.average)
                return (parameters, average, moments), metrics | {"loss": value, "gradient_norm": norm}

            count = block_size if self.gradient_steps == -1 else self.gradient_steps
            begin = state.parameters, state.player.network, state.optimiser
            (parameters, average, moments), metrics = jax.lax.scan(gradient_step, begin, jax.random.split(key, count))
            metrics = {name: values.mean() for name, values in metrics.items()} | _measured(block)
            player = state.player._replace(network=average)
            metrics["learning_rate"] = learning_rate
            return state._replace(parameters=parameters, player=player, optimiser=moments), metrics

        def policy(state: State) -> State:
            return state._replace(parameters=(), optimiser=(), replay=(), games=())

        return Agent(init, no_memory, noise, act, observe, learn, policy)


class Player(NamedTuple):
    """What the search is guided by."""

    network: PyTree  # the averaged network
    threshold: PyTree  # [] the return from which on an episode is won; () unless rewards are ranked


class State(NamedTuple):
    """What AlphaZero learns and remembers."""

    parameters: PyTree  # of the newest network
    player: Player
    optimiser: PyTree
    replay: PyTree  # a ring of `Example`
    games: PyTree  # a ring of the returns of finished episodes; () unless rewards are ranked
    step: Array  # [] int32, environment steps observed


class Example(NamedTuple):
    """A position to learn from; leaves [...] alone, [N, ...] in a batch."""

    obs: Array
    weights: Array  # [A] what the search thinks of the moves, a distribution
    result: Array  # G


class Noise(NamedTuple):
    """The randomness of a move; leaves [B, ...]."""

    words: Array  # [B, 2] uint32, of a key
    coin: Array  # in [0, 1): below `random_moves` the move is drawn
    draw: Array  # in [0, 1): which it is then


class Extras(NamedTuple):
    """What acting hands on to learning; leaves [T, B, ...]."""

    weights: Array
    value: Array  # of the position, as the search found it
    random: Array  # bool, whether the move was drawn


def _measured(block: Step) -> dict[str, Array]:
    """Metrics of self-play."""
    over = block.terminated | block.truncated
    decided = jnp.sum(block.terminated & (block.reward != 0)) / jnp.maximum(jnp.sum(over), 1)
    weights = block.extras.weights
    entropy = -jnp.sum(weights * jnp.log(jnp.maximum(weights, 1e-12)), -1).mean()
    return {"decided": decided, "search_entropy": entropy, "search_value": block.extras.value.mean()}


def _symmetries(simulator: Simulator, wanted: bool):
    """The function that turns and mirrors each position of a batch as a key says."""
    given = simulator.symmetries if wanted else None
    if given is None:
        return lambda batch, key: batch
    of_obs, of_actions = np.asarray(given.obs), np.asarray(given.actions)

    def symmetric(batch: Example, key: Key) -> Example:
        which = jax.random.randint(key, batch.result.shape, 0, len(of_obs))
        obs = jnp.take_along_axis(batch.obs, jnp.asarray(of_obs)[which], -1)
        weights = jnp.take_along_axis(batch.weights, jnp.asarray(of_actions)[which], -1)
        return Example(obs, weights, batch.result)

    return symmetric
