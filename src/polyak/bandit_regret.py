"""The regret of algorithms on bandits: many problems side by side, in one compiled scan over pulls."""

import dataclasses
import math
import os
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from polyak import presets, settings
from polyak.agent import Agent, Algorithm, Array, Key, PyTree, Spec, Step
from polyak.envs.bandits import BANDITS, Bandit
from polyak.errors import BadSetting, UnknownName
from polyak.runs.documents import Check, check_arguments, whole

if TYPE_CHECKING:
    from polyak.pictures.picture import Picture

SEGMENT = 256  # pulls whose noise is drawn at once
BYTES = 8 * 2**20  # of noise and agents that are kept for problems side by side: what fits into a cache
LONGEST = 60  # letters of a setting in the name of a result
MOST_PULLS, MOST_PROBLEMS = 10**8, 10**6

ARGUMENTS: dict[str, Check] = {
    "pulls": whole(1, MOST_PULLS),
    "problems": whole(2, MOST_PROBLEMS),
    "seed": whole(0, 2**32 - 1),
}


@dataclasses.dataclass(frozen=True, repr=False)
class Regret:
    """What an algorithm earned on a bandit, over many problems.

    Regret is in units of reward, and of expectations: what the comparator's arms were expected to pay, less what the
    pulled arms were. The chance in rewards enters only by what the algorithm makes of it.

    Attributes:
        algorithm: its name, and the settings that are not its defaults.
        bandit: its id.
        regret: [pulls] cumulative, after each pull; the mean over problems.
        low: [pulls] where the 95 % interval of that mean begins, by Student's t.
        high: [pulls] where it ends.
        reward: [pulls] of each pull; the mean over problems.
        optimal: [pulls] the share of problems in which the pulled arm was the best of that pull.
        final: [problems] the regret after the last pull. Problem i of a seed is the same for every algorithm, noise of
            contexts and rewards included.
    """

    algorithm: str
    bandit: str
    regret: np.ndarray
    low: np.ndarray
    high: np.ndarray
    reward: np.ndarray
    optimal: np.ndarray
    final: np.ndarray

    @property
    def pulls(self) -> int:
        """The pulls of each problem."""
        return len(self.regret)

    @property
    def problems(self) -> int:
        """How many."""
        return len(self.final)

    @property
    def mean(self) -> float:
        """The mean regret after the last pull."""
        return float(self.regret[-1])

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of `mean`."""
        return float(self.low[-1]), float(self.high[-1])

    def less(self, other: "Regret") -> tuple[float, float, float]:
        """How much more regret another algorithm had on the same problems: mean, low and high.

        The interval is the 95 % one of the mean of paired differences, by Student's t.

        Raises:
            BadSetting: the other result is of another bandit, or of other problems or pulls.
        """
        if (other.bandit, other.pulls, other.problems) != (self.bandit, self.pulls, self.problems):
            raise BadSetting(
                f"{other.algorithm} was measured on {_measured_on(other)}, and {self.algorithm} on "
                f"{_measured_on(self)}; only results on the same problems are compared."
            )
        more = other.final - self.final
        half = _half_interval(more.var(ddof=1), len(more))
        return float(more.mean()), float(more.mean() - half), float(more.mean() + half)

    def plot(self, path: str | os.PathLike | None = None) -> "Picture":
        """Draws the cumulative regret; see `polyak.draw_regret`, which draws several results together."""
        from polyak.pictures.regret import draw_regret

        return draw_regret(self, path=path)

    def __str__(self) -> str:
        low, high = self.interval
        last = self.optimal[-max(1, self.pulls // 10) :].mean()
        return (
            f"{self.algorithm} on {_measured_on(self)}: regret {self.mean:.4g}, 95 % interval [{low:.4g}, {high:.4g}]; "
            f"best arm in {100 * last:.1f} % of the last tenth"
        )

    def __repr__(self) -> str:
        return f"Regret({self})"


def regret(
    algorithm: str | Algorithm, bandit: str | Bandit, pulls: int = 1_000, problems: int = 1_000, *, seed: int = 0
) -> Regret:
    """Lets an algorithm learn each of many problems of a bandit anew, and measures its regret.

    Every pull is an episode of one step, which ends as terminated, so any algorithm for discrete actions will do. One
    that learns from blocks of several steps keeps its policy for that many pulls. Its schedules are stretched over
    `pulls`.

    Args:
        algorithm: a name, which takes the preset of that pair where there is one; or an algorithm with your settings.
        bandit: an id, `bandit/gaussian`, or a `Bandit`.
        pulls: of each problem.
        problems: how many, at least 2; as many are learnt side by side as fit into 8 MiB.
        seed: of all that is random. With the same seed, all algorithms meet the same problems, and are paid alike for
            pulling the same arm at the same time.

    Returns:
        Curves over pulls, and the final regret of every problem.

    Raises:
        UnknownName: no such algorithm or bandit.
        BadSetting: the algorithm does not suit the bandit; an argument is out of range; or what is learnt became
            infinite or NaN.

    Source: the pseudo-regret of Bubeck and Cesa-Bianchi (2012), "Regret analysis of stochastic and nonstochastic
    multi-armed bandit problems".
    """
    check_arguments(ARGUMENTS, {"pulls": pulls, "problems": problems, "seed": seed}, "regret's ")
    played = _bandit(bandit)
    made = _algorithm(algorithm, played.id)
    game = Game.of(made, played, pulls)
    together = min(problems, max(1, BYTES // game.bytes()))
    chunks = -(-problems // together)
    together = -(-problems // chunks)
    start = jax.jit(jax.vmap(game.start))
    play = jax.jit(jax.vmap(game.play, (0, None)), donate_argnums=0)
    keys = jax.vmap(partial(jax.random.fold_in, jax.random.key(seed)))(jnp.arange(chunks * together))
    curves, final = Curves.none(pulls), []
    for first in range(0, problems, together):
        own = min(together, problems - first)  # the last chunk is filled up, for one program to serve all
        playing = start(keys[first : first + together])
        for segment in range(-(-pulls // game.length)):
            playing, seen = play(playing, segment)
            if not np.asarray(playing.sound)[:own].all():
                raise BadSetting(
                    f"What {made.name} learnt on {played.id} became infinite or NaN; try a smaller learning_rate, or "
                    "rewards and observations of a smaller scale."
                )
            begin = segment * game.length
            rows = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64)[:own, : pulls - begin], seen)  # noqa: B023
            curves.add(rows, begin)
        final.append(rows.regret[:, -1])
    half = _half_interval(curves.squares[0] / (problems - 1), problems)
    total, reward, optimal = curves.means
    return Regret(_label(made), played.id, total, total - half, total + half, reward, optimal, np.concatenate(final))


class Pull(NamedTuple):
    """What is measured of pulls."""

    regret: Array  # cumulative
    reward: Array
    optimal: Array  # whether the arm was the best of that pull


class Playing(NamedTuple):
    """Where one problem stands."""

    key: Key  # never advanced: pull t uses fold_in of it
    agent: PyTree
    problem: PyTree
    behind: Array  # how far what was earned lies behind the comparators: [1], the best arms, or [K], each arm
    sound: Array  # [] bool, whether all metrics were finite


@dataclasses.dataclass(frozen=True)
class Game:
    """An algorithm and a bandit, as pure functions for one problem; hyperparameters may be traced."""

    agent: Agent
    bandit: Bandit
    block: int  # steps between two updates
    fills: int  # blocks that are only observed
    blocks: int  # of a segment

    @classmethod
    def of(cls, algorithm: Algorithm, bandit: Bandit, pulls: int) -> "Game":
        agent = algorithm.agent(Spec(bandit.observation_space, bandit.action_space, 1, None, pulls))
        block = algorithm.block_length
        blocks = max(1, min(SEGMENT, pulls) // block)
        return cls(agent, bandit, block, -(-algorithm.learning_starts // block), blocks)

    @property
    def length(self) -> int:
        """Pulls of a segment."""
        return self.block * self.blocks

    def bytes(self) -> int:
        """The memory of a problem, about."""

        def look(key: Key) -> PyTree:
            playing = self.start(key)
            return playing, self._noise(playing, jnp.int32(0)), self.play(playing, jnp.int32(0))

        leaves = jax.tree.leaves(jax.eval_shape(look, jax.random.key(0)))
        return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)

    def start(self, key: Key) -> Playing:
        """A problem and an agent that knows nothing of it."""
        problem_key, agent_key, key = jax.random.split(key, 3)
        comparators = 1 if self.bandit.comparator == "best_now" else self.bandit.arms
        problem = self.bandit.draw(problem_key)
        return Playing(key, self.agent.init(agent_key), problem, jnp.zeros(comparators), jnp.bool_(True))

    def play(self, playing: Playing, segment: Array) -> tuple[Playing, Pull]:
        """Makes the pulls of a segment, counted from 0; leaves [length]."""
        agent_noise, pull_noise, learn_keys = self._noise(playing, segment)

        def block(now: Playing, inputs: tuple[Array, PyTree, PyTree, Key]) -> tuple[Playing, Pull]:
            number, agent_noise, pull_noise, learn_key = inputs
            moving = now.problem, now.behind
            (problem, behind), (steps, seen) = jax.lax.scan(
                partial(self._pull, now.agent), moving, (agent_noise, pull_noise)
            )
            agent = self.agent.observe(now.agent, steps)
            agent, sound = self._learnt(agent, steps, learn_key, number)
            return Playing(now.key, agent, problem, behind, now.sound & sound), seen

        # added up from 0, so that float32 does not lose small regrets beside a large sum
        fresh = playing._replace(behind=jnp.zeros_like(playing.behind))
        numbers = segment * self.blocks + jnp.arange(self.blocks)
        after, (behind, reward, optimal) = jax.lax.scan(block, fresh, (numbers, agent_noise, pull_noise, learn_keys))
        total = jnp.max(playing.behind + behind.reshape(self.length, -1), -1)
        after = after._replace(behind=playing.behind + after.behind)
        return after, Pull(total, reward.reshape(-1), optimal.reshape(-1))

    def _noise(self, playing: Playing, segment: Array) -> tuple[PyTree, PyTree, Key]:
        """The randomness of a segment, [blocks, block, ...]; that of pulls does not depend on the algorithm."""
        agent_key, pull_key, learn_key = jax.random.split(playing.key, 3)
        pulls = segment * self.length + jnp.arange(self.length)
        keys = jax.vmap(partial(jax.random.fold_in, pull_key))(pulls)
        drawn = (
            self.agent.noise(jax.random.fold_in(agent_key, segment), (self.length, 1)),
            jax.vmap(lambda key: self.bandit.noise(key, ()))(keys),
        )
        shaped = jax.tree.map(lambda leaf: leaf.reshape(self.blocks, self.block, *leaf.shape[1:]), drawn)
        return *shaped, jax.random.split(jax.random.fold_in(learn_key, segment), self.blocks)

    def _pull(self, agent: PyTree, moving: tuple[PyTree, Array], noise: tuple[PyTree, PyTree]):
        (problem, behind), (agent_noise, pull_noise) = moving, noise
        bandit = self.bandit
        obs = bandit.context(problem, pull_noise)
        action, _, extras = self.agent.act(agent, self.agent.start(1), obs[None], agent_noise, True)
        means = bandit.means(problem, obs)
        reward, mean, best = bandit.pull(problem, obs, action[0], pull_noise), means[action[0]], means.max()
        behind = behind + (best if bandit.comparator == "best_now" else means) - mean
        over = jnp.ones(1, bool)
        step = Step(obs[None], action, reward[None], over, ~over, obs[None], extras)
        return (bandit.advance(problem, pull_noise), behind), (step, Pull(behind, reward, mean >= best))

    def _learnt(self, agent: PyTree, steps: Step, key: Key, number: Array) -> tuple[PyTree, Array]:
        """The agent after a block, and whether all metrics were finite."""

        def learn(agent: PyTree) -> tuple[PyTree, Array]:
            agent, metrics = self.agent.learn(agent, steps, key)
            return agent, jnp.isfinite(sum(metrics.values(), jnp.float32(0)))

        if not self.fills:
            return learn(agent)
        return jax.lax.cond(number < self.fills, lambda agent: (agent, jnp.bool_(True)), learn, agent)


class Curves(NamedTuple):
    """Moments over problems, which come in chunks; Chan, Golub and LeVeque (1983) join them."""

    counts: np.ndarray  # [pulls] problems so far
    means: np.ndarray  # [3, pulls] of regret, reward and optimal
    squares: np.ndarray  # [3, pulls] sums of squared deviations

    @classmethod
    def none(cls, pulls: int) -> "Curves":
        return cls(np.zeros(pulls), np.zeros((3, pulls)), np.zeros((3, pulls)))

    def add(self, rows: Pull, begin: int) -> None:
        """Adds a chunk of problems, leaves [problems, n], to the pulls from `begin` on."""
        measured = np.stack(rows)
        number, here = measured.shape[1], np.s_[begin : begin + measured.shape[2]]
        before = self.counts[here]
        change = measured.mean(1) - self.means[:, here]
        self.squares[:, here] += number * measured.var(1) + change**2 * before * number / (before + number)
        self.means[:, here] += change * number / (before + number)
        self.counts[here] += number


def _half_interval(variance: Any, count: int) -> Any:
    """Half the width of the 95 % interval of a mean, by Student's t."""
    from scipy import stats

    return stats.t.ppf(0.975, count - 1) * np.sqrt(variance / count)


def _bandit(bandit: Any) -> Bandit:
    if isinstance(bandit, str):
        if bandit not in BANDITS:
            raise UnknownName("bandit", bandit, BANDITS)
        return BANDITS[bandit]()
    if not isinstance(bandit, Bandit):
        raise BadSetting(f"regret takes a bandit, as bandit/gaussian or polyak.bandits.gaussian(), not {bandit!r:.80}.")
    return bandit


def _algorithm(algorithm: Any, bandit: str) -> Algorithm:
    if isinstance(algorithm, str):
        found = presets.preset(algorithm, bandit)
        return settings.build(algorithm, found.settings if found else {})
    if isinstance(algorithm, type) or not hasattr(algorithm, "agent"):
        raise BadSetting(f"regret takes an algorithm, its name or one with settings, not {algorithm!r:.80}.")
    settings.check(algorithm)
    return algorithm


def _label(algorithm: Any) -> str:
    """`action-value-bandit, exploration=ucb:2.0`: the settings that are not defaults."""
    usual = {field.name: repr(field.default) for field in dataclasses.fields(algorithm)}
    told = settings.describe(algorithm)
    changed = [name for name in usual if repr(getattr(algorithm, name)) != usual[name]]
    return ", ".join([algorithm.name, *(f"{name}={str(told[name])[:LONGEST]}" for name in changed)])


def _measured_on(result: Regret) -> str:
    return f"{result.bandit}, {result.problems:,} problems of {result.pulls:,} pulls"
