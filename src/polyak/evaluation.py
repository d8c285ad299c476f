"""The scores of policies in the real environment, with confidence intervals."""

import contextlib
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from polyak.errors import BadSetting
from polyak.spaces import from_rows, has_parts, row_shape, to_rows

if TYPE_CHECKING:
    from polyak.envs import EnvLike
    from polyak.envs.from_gymnasium import GymnasiumVector
    from polyak.policy import Policy

MANY = 50  # environments that are open at once, where that costs next to nothing
FEW = 8  # elsewhere
LIGHT_SECONDS = 0.1  # in which such an environment is made and reset
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
        """The samples of `iqm` and `interval`: "seeds" or "episodes"."""
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

    def _repr_html_(self) -> str:
        from polyak.runs import notebook

        (low, high), digits = self.interval, decimals(self.iqm)
        seeds, episodes = self.returns.shape
        return notebook.table(
            [
                ("mean", f"{self.mean:.{digits}f}"),
                ("interquartile mean", f"{self.iqm:.{digits}f}"),
                (f"95 % interval over {self.over}", f"{low:.{digits}f} to {high:.{digits}f}"),
                ("played", f"{seeds} {'seed' if seeds == 1 else 'seeds'} x {episodes} episodes"),
            ]
        )


def decimals(score: float) -> int:
    """The digits after the point of a score: two where it is small."""
    return 2 if abs(score) < 10 else 1


def evaluate(
    policy: Callable[[Any], Any],
    env: "EnvLike | None" = None,
    *,
    episodes: int = 100,
    seed: int = 1_000_000,
    num_envs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Plays whole episodes with a policy in the Gymnasium environment and returns their undiscounted returns.

    An episode that no time limit ends is cut after 27,000 steps.

    Args:
        policy: a `Policy`, or any function from a batch of observations [N, ...] to actions [N, ...]; of Dict and Tuple
            spaces, dictionaries and tuples of such batches.
        env: an id, or a function that returns a `gymnasium.Env`; by default the one the policy was trained on.
        episodes: how many; each begins with a seed of its own, so that the set is the same for every policy.
        seed: where those seeds start; the default is far from any training seed.
        num_envs: environments that are open at once, N; the returns of a `Policy` do not depend on it. By default 50
            where opening one takes less than a tenth of a second and starts no process; else 8, or as many as the
            policy was trained with if they were fewer.
        progress: called as `progress(finished, episodes)` at the start and whenever an episode has ended.

    Raises:
        polyak.Error: the environment is unknown, or it breaks Gymnasium's interface, or the policy does not suit it.
    """
    from polyak.envs import make_original, name_of, without_import
    from polyak.envs.from_gymnasium import GymnasiumVector
    from polyak.policy import Policy

    for label, value in (("episodes", episodes), ("num_envs", num_envs)):
        if value is not None and value < 1:
            raise BadSetting(f"{label} is {value}; it takes at least one.")
    if env is None:
        env = getattr(policy, "env", None)
        env = without_import(env) if isinstance(env, str) else env
    if env is None:
        raise BadSetting("evaluate needs to know the environment: evaluate(policy, env).")

    if isinstance(policy, Policy) and policy.plans:
        return Scores(_play_planner(policy, env, episodes, seed, progress or (lambda finished, episodes: None))[None])

    def opened(count: int) -> GymnasiumVector:
        return GymnasiumVector(lambda: make_original(env), count, name_of(env))

    if num_envs is None:
        num_envs = min(FEW, policy.spec.num_envs) if isinstance(policy, Policy) else FEW
        if num_envs < episodes and _is_light(opened):
            num_envs = MANY
    count = min(episodes, num_envs)
    vector = opened(count)
    try:
        if isinstance(policy, Policy):
            policy.check_spaces(vector.observation_space, vector.action_space, vector.id)
            player = policy.player(count)
        else:
            player = _player(policy, vector)
        return Scores(play(player, vector, episodes, seed, progress or (lambda finished, episodes: None))[None])
    finally:
        vector.close()


def _play_planner(
    policy: "Policy", env: "EnvLike", episodes: int, seed: int, progress: Callable[[int, int], None]
) -> np.ndarray:
    """Returns [episodes] of a policy that plans, in a compiled environment, whose states it is shown.

    All episodes are played side by side, and what is random falls by the seed and the number of them.
    """
    import jax

    from polyak.agent import Position
    from polyak.envs import make_judge

    judge = make_judge(env)
    policy.check_spaces(judge.observation_space, judge.action_space, judge.id)
    policy.check_simulates(judge)
    agent = policy.agent

    def begin(key: jax.Array) -> tuple[Any, Any]:
        return jax.vmap(judge.reset)(judge.noise(key, (episodes,)))

    def move(state: Any, carry: Any, world: Any, obs: Any, key: jax.Array) -> tuple[Any, ...]:
        act_key, world_key = jax.random.split(key)
        noise = agent.noise(act_key, (episodes,))
        action, carry, _ = agent.act(state, carry, Position(obs, world), noise, False)
        world, obs, reward, terminated, truncated = jax.vmap(judge.step)(
            world, action, judge.noise(world_key, (episodes,))
        )
        return carry, world, obs, reward, terminated | truncated

    move, key = jax.jit(move), jax.random.key(seed)
    world, obs = jax.jit(begin)(key)
    carry, returns, active = agent.start(episodes), np.zeros(episodes), np.ones(episodes, bool)
    for time_step in range(max(judge.max_episode_steps or 0, LONGEST)):
        carry, world, obs, reward, over = move(policy.state, carry, world, obs, jax.random.fold_in(key, time_step))
        returns += np.where(active, reward, 0.0)
        active &= ~np.asarray(over)
        progress(episodes - int(active.sum()), episodes)
        if not active.any():
            break
    return returns


def _is_light(opened: Callable[[int], "GymnasiumVector"]) -> bool:
    """Whether opening one more environment takes but a moment, and starts no process."""
    light = False
    for _ in range(2):  # the first of its kind may have to import what it needs
        processes, began = _child_processes(), time.perf_counter()
        vector = opened(1)
        try:
            vector.reset()
            light = time.perf_counter() - began < LIGHT_SECONDS and _child_processes() <= processes
        finally:
            vector.close()
    return light


def _child_processes() -> int:
    """The number of processes that this one has started, where Linux tells; else 0."""
    with contextlib.suppress(OSError):  # a thread that has just ended
        return sum(len(file.read_text().split()) for file in Path("/proc/self/task").glob("*/children"))
    return 0


def _player(policy: Callable[[Any], Any], vector: "GymnasiumVector") -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A user's function as a `Policy.player`, which sees and gives rows where spaces have parts.

    Raises, when it is called:
        BadSetting: what the function gave are no actions.
    """
    seen, given = vector.observation_space, vector.action_space
    shape = (vector.num_envs, *row_shape(given))

    def player(obs: np.ndarray, first: np.ndarray) -> np.ndarray:
        answer = policy(from_rows(seen, obs) if has_parts(seen) else obs)
        try:
            actions = to_rows(given, answer) if has_parts(given) else np.asarray(answer)
        except ValueError as error:
            raise BadSetting(f"The actions of {vector.id} are {given}, and of what the policy gave {error}.") from None
        if actions.shape != shape or actions.dtype.kind not in "biuf":
            raise BadSetting(
                f"The policy gave {actions.dtype} of shape {actions.shape} for {len(obs)} observations; the actions of "
                f"{vector.id} are {given}, so it takes numbers of shape {shape}."
            )
        return actions

    return player


def play(
    player: Callable[[np.ndarray, np.ndarray], np.ndarray],
    vector: "GymnasiumVector",
    episodes: int,
    seed: int,
    progress: Callable[[int, int], None],
) -> np.ndarray:
    """Returns [episodes] of a `Policy.player`; each begins with a seed of its own, in whichever environment is free."""
    from polyak.envs.base import environment_seeds

    seeds = environment_seeds(seed, episodes)
    count = vector.num_envs
    longest = max(vector.max_episode_steps or 0, LONGEST)
    playing = list(range(count))  # the episode that each environment plays
    waiting = count
    returns, lengths = np.zeros(episodes), np.zeros(episodes, int)
    progress(0, episodes)
    obs = vector.begin(seeds[:count])
    active, first = np.ones(count, bool), np.ones(count, bool)
    while active.any():
        outcome = vector.step_some(player(obs, first), active)
        first = np.zeros(count, bool)
        obs = outcome.next_obs.copy()
        for i in np.flatnonzero(active).tolist():
            episode = playing[i]
            returns[episode] += outcome.reward[i]
            lengths[episode] += 1
            if outcome.terminated[i] or outcome.truncated[i] or lengths[episode] >= longest:
                if waiting < episodes:
                    playing[i] = waiting
                    vector.begin_one(i, obs, seeds[waiting])
                    first[i] = True
                    waiting += 1
                else:
                    active[i] = False
                progress(waiting - int(active.sum()), episodes)
    return returns
