"""How good a policy is, measured in the real environment, and how sure one can be of it."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from polyak.errors import BadSetting
from polyak.spaces import from_rows, has_parts, to_rows

if TYPE_CHECKING:
    from polyak.envs import EnvLike

PARALLEL = 50  # episodes played side by side
LONGEST = 27_000  # steps after which an episode without a time limit is cut: Atari's 30 minutes


@dataclasses.dataclass(frozen=True)
class Scores:
    """Returns [seeds, episodes] of final policies, one row a seed."""

    returns: np.ndarray

    @property
    def mean(self) -> float:
        """The mean over all episodes."""
        return float(self.returns.mean())

    @property
    def iqm(self) -> float:
        """The interquartile mean: of the seeds' mean returns, or for a single seed of its episodes' returns.

        The mean of the middle half: less noisy than the median, less moved by one bad seed than the mean.
        Source: Agarwal et al. (2021), "Deep reinforcement learning at the edge of the statistical precipice".
        """
        from scipy import stats

        return float(stats.trim_mean(self._samples, 0.25))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % percentile-bootstrap interval of `iqm`, over seeds; for a single seed, over its episodes."""
        from scipy import stats

        samples = self._samples
        if len(samples) < 2 or np.ptp(samples) == 0.0:
            return float(samples.min()), float(samples.max())
        result = stats.bootstrap(
            (samples,),
            lambda x, axis: stats.trim_mean(x, 0.25, axis=axis),
            n_resamples=10_000,
            method="percentile",
            rng=np.random.default_rng(0),
        )
        return float(result.confidence_interval.low), float(result.confidence_interval.high)

    @property
    def over(self) -> str:
        """What `iqm` and `interval` are taken over: "seeds" or "episodes"."""
        return "seeds" if self.returns.shape[0] > 1 else "episodes"

    @property
    def _samples(self) -> np.ndarray:
        return self.returns.mean(1) if self.returns.shape[0] > 1 else self.returns[0]

    def __str__(self) -> str:
        low, high = self.interval
        seeds, episodes = self.returns.shape
        digits = decimals(self.iqm)
        return (
            f"mean {self.mean:.{digits}f}, IQM {self.iqm:.{digits}f}, "
            f"95 % interval [{low:.{digits}f}, {high:.{digits}f}] over {self.over} "
            f"({seeds} {'seed' if seeds == 1 else 'seeds'} x {episodes} episodes)"
        )


def decimals(score: float) -> int:
    """Digits after the point that a score is written with: two where it is small."""
    return 2 if abs(score) < 10 else 1


def evaluate(
    policy: Callable[[Any], Any],
    env: "EnvLike | None" = None,
    *,
    episodes: int = 100,
    seed: int = 1_000_000,
) -> Scores:
    """Plays whole episodes with a policy in the Gymnasium environment and returns their undiscounted returns.

    Args:
        policy: a `Policy`, or any function from a batch of observations [N, ...] to actions [N, ...]; of Dict and Tuple
            spaces, dictionaries and tuples of such batches.
        env: an id, or a function that returns a `gymnasium.Env`; by default the one the policy was trained on.
        episodes: how many; each begins with a seed of its own, so that the set is the same for every policy.
        seed: where those seeds start; the default is far from any training seed.

    Raises:
        polyak.Error: the environment is unknown, or it breaks Gymnasium's interface.
    """
    from polyak.envs import MDP, make_original, without_import
    from polyak.envs.from_gymnasium import GymnasiumVector, name_of
    from polyak.policy import Policy

    if episodes < 1:
        raise BadSetting(f"episodes is {episodes}; it takes at least one.")
    if env is None:
        env = getattr(policy, "env", None)
        env = without_import(env) if isinstance(env, str) else env
    if env is None:
        raise BadSetting("evaluate needs to know the environment: evaluate(policy, env).")
    if isinstance(env, MDP):
        env = env.compiled()  # once, so that its copies share what is compiled
    count = min(episodes, PARALLEL)
    vector = GymnasiumVector(lambda: make_original(env), count, name=name_of(env))
    try:
        if isinstance(policy, Policy):
            policy.check_spaces(vector.observation_space, vector.action_space, vector.id)
            return Scores(play(policy.player(count), vector, episodes, seed)[None])
        return Scores(play(_player(policy, vector), vector, episodes, seed)[None])
    finally:
        vector.close()


def _player(policy: Callable[[Any], Any], vector: Any) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A user's function as a `Policy.player`, which sees and gives rows where spaces have parts."""
    seen, given = vector.observation_space, vector.action_space

    def player(obs: np.ndarray, first: np.ndarray) -> np.ndarray:
        action = policy(from_rows(seen, obs) if has_parts(seen) else obs)
        if not has_parts(given):
            return action
        try:
            return to_rows(given, action)
        except ValueError as error:
            raise BadSetting(f"The actions of {vector.id} are {given}, and of what the policy gave {error}.") from None

    return player


def play(player: Callable[[np.ndarray, np.ndarray], np.ndarray], vector, episodes: int, seed: int) -> np.ndarray:
    """Returns [episodes] of a `Policy.player`; each begins with a seed of its own, in whichever environment is free."""
    from polyak.envs.base import environment_seeds

    seeds = environment_seeds(seed, episodes)
    count = vector.num_envs
    playing = list(range(count))  # the episode that each environment plays
    waiting = count
    returns, lengths = np.zeros(episodes), np.zeros(episodes, int)
    obs = vector.begin(seeds[:count])
    active, first = np.ones(count, bool), np.ones(count, bool)
    while active.any():
        outcome = vector.step_some(player(obs, first), active)
        first = np.zeros(count, bool)
        obs = outcome.next_obs.copy()
        for i in np.flatnonzero(active):
            episode = playing[i]
            returns[episode] += outcome.reward[i]
            lengths[episode] += 1
            if outcome.terminated[i] or outcome.truncated[i] or lengths[episode] >= LONGEST:
                if waiting < episodes:
                    playing[i] = waiting
                    vector.begin_one(i, obs, seeds[waiting])
                    first[i] = True
                    waiting += 1
                else:
                    active[i] = False
    return returns
