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

Alone, a player has nobody to be as strong as itself. With `ranked_rewards` its opponents are its own last returns, see
`polyak.parts.ranked_rewards`.

Deviations: positions are drawn from a memory of those played last, each in one of the symmetries of its game; the
policy that plays is a running average of the networks; nobody resigns; with PUCT a move is drawn in proportion to its
visits throughout a game.
"""

import dataclasses
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, Position, PyTree, Simulator, Spec, Step, no_memory
from polyak.errors import BadSetting
from polyak.ops import returns
from polyak.ops.tree_search import pick
from polyak.parts import hyper, networks, simulation
from polyak.parts.distributions import RULED_OUT
from polyak.parts.optimise import Adam, polyak_average
from polyak.parts.ranges import Count, Decay, Positive, PositiveShare, Share, Whole
from polyak.parts.ranked_rewards import Ranking, won_or_lost
from polyak.parts.ring import Ring, take
from polyak.parts.schedules import linear_schedule
from polyak.spaces import row_shape


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
    self_play_simulations: Count | None = None
    """Positions that each search looks at while it learns: fewer, for more games; by default as many as later."""
    tree_policy: Literal["gumbel", "puct"] = "gumbel"
    """What guides it: sequential halving of sampled moves (gumbel), or upper confidence bounds (puct)."""
    value_scale: Positive = 0.1
    """How much what moves are worth counts beside how they look (gumbel): a lone player needs more, such as 1."""
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

    def planner(self, spec: Spec, simulations: int | None = None) -> simulation.Search:
        """A search that a `Player` guides, of so many simulations; by default of as many as it plays with."""
        simulator = simulation.simulator_of(spec, "AlphaZero")
        guide = self._guide(spec, simulator)
        return simulation.guided_search(
            spec,
            simulator,
            guide._replace(answer=lambda player, obs: guide.answer(player.network, obs)),
            -self.gamma if simulator.turns else self.gamma,
            simulations or max(1, self.num_simulations),
            self.tree_policy,
            self.value_scale,
            self._earned,
        )

    def _guide(self, spec: Spec, simulator: Simulator) -> simulation.Guide:
        return simulation.guide_of(spec.observation_space, simulator.turns or self.ranked_rewards is not None)

    def _earned(self, player: "Player", reward: Array, terminated: Array) -> Array:
        """The rewards that count."""
        return reward if self.ranked_rewards is None else won_or_lost(player.threshold, reward, terminated)

    def agent(self, spec: Spec) -> Agent:
        networks.refuse_noisy("AlphaZero", self.network)
        simulator = simulation.simulator_of(spec, "AlphaZero")
        if simulator.chance:
            raise BadSetting("AlphaZero's tree has one position for each move, and chance would make it many.")
        if simulator.turns and self.ranked_rewards is not None:
            raise BadSetting("Ranked rewards are for one player alone; in a game of two leave ranked_rewards out.")
        space = spec.observation_space
        num_actions, first_action = int(spec.action_space.n), int(spec.action_space.start)  # type: ignore[attr-defined]
        block_size = self.n_steps * spec.num_envs
        discount = -self.gamma if simulator.turns else self.gamma
        answers, search = self._guide(spec, simulator).answer, self.planner(spec)
        self_play = self.planner(spec, self.self_play_simulations)
        rule = self.optimizer.rule(self.max_grad_norm)
        ring, symmetries = Ring.of(self.buffer_size, block_size), simulator.symmetries if self.symmetries else None
        ranking = None if self.ranked_rewards is None else Ranking(self.ranked_rewards, block_size)

        def init(key: Key) -> State:
            parameters = self.network.init(
                key, space, num_actions + 1, networks.orthogonal(2**0.5), networks.orthogonal(0.01)
            )
            example = Example(jnp.zeros(row_shape(space)), jnp.zeros(num_actions), jnp.float32(0))
            ranked, threshold = (ranking.init(), jnp.float32(0)) if ranking else ((), ())
            player = Player(parameters, threshold)
            return State(parameters, player, rule.init(parameters), ring.init(example), ranked, jnp.int32(0))

        def noise(key: Key, shape: tuple[int, ...]) -> Noise:
            word_key, coin_key, draw_key = jax.random.split(key, 3)
            words = jax.random.bits(word_key, (*shape, 2), jnp.uint32)
            return Noise(words, jax.random.uniform(coin_key, shape), jax.random.uniform(draw_key, shape))

        def act(state: State, carry: PyTree, seen: Position, noise: Noise, explore: bool):
            if explore:
                found = self_play(state.player, seen, simulation.key_of(noise.words[0]), True)
                is_random = noise.coin < self.random_moves
                drawn = jax.vmap(pick)(simulation.legal_of(space, seen.obs, num_actions), noise.draw)
                action = jnp.where(is_random, drawn, found.action)
                return action + first_action, carry, Extras(found.weights, found.value, is_random)
            if self.num_simulations:
                found = search(state.player, seen, simulation.key_of(noise.words[0]), False)
                return found.action + first_action, carry, ()
            legal = simulation.legal_of(space, seen.obs, num_actions)
            logits = jnp.where(legal, answers(state.player.network, seen.obs)[0], RULED_OUT)
            return jnp.argmax(logits, -1) + first_action, carry, ()

        def results(state: State, block: Step) -> Array:
            """G [T, B]."""
            extras: Extras = block.extras
            return jax.vmap(returns.searched_return, (1, 1, 1, 1, 1, 1, None), 1)(
                self._earned(state.player, block.reward, block.terminated),
                jnp.where(block.terminated, 0.0, discount),
                extras.value,
                answers(state.player.network, block.next_obs)[1],
                block.terminated | block.truncated,
                extras.random,
                self.trace_lambda,
            )

        def observe(state: State, block: Step) -> State:
            example = Example(block.obs, block.extras.weights, results(state, block))
            state = state._replace(replay=ring.add(state.replay, example), step=state.step + block_size)
            if ranking is None:
                return state
            ranked, threshold = ranking.add(state.ranked, block)
            return state._replace(ranked=ranked, player=state.player._replace(threshold=threshold))

        def loss(network: Any, batch: Example) -> tuple[Array, dict[str, Array]]:
            logits, value = answers(network, batch.obs)
            logits = jnp.where(simulation.legal_of(space, batch.obs, num_actions), logits, RULED_OUT)
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
                batch: Example = take(state.replay.storage, rows)
                obs, weights = simulation.turned(batch.obs, batch.weights, symmetries, symmetry_key)
                batch = batch._replace(obs=obs, weights=weights)
                (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(parameters, batch)
                parameters, moments, norm = rule.update(parameters, gradient, moments, learning_rate, value)
                average = polyak_average(average, parameters, 1.0 - self.average)
                return (parameters, average, moments), metrics | {"loss": value, "gradient_norm": norm}

            count = block_size if self.gradient_steps == -1 else self.gradient_steps
            begin = state.parameters, state.player.network, state.optimiser
            (parameters, average, moments), metrics = jax.lax.scan(gradient_step, begin, jax.random.split(key, count))
            metrics = {name: values.mean() for name, values in metrics.items()} | {"learning_rate": learning_rate}
            metrics |= simulation.search_metrics(block, block.extras.weights, block.extras.value)
            player = state.player._replace(network=average)
            return state._replace(parameters=parameters, player=player, optimiser=moments), metrics

        def policy(state: State) -> State:
            return state._replace(parameters=(), optimiser=(), replay=(), ranked=())

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
    ranked: PyTree  # the last returns; () unless rewards are ranked
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
