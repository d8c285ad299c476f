"""Figures of Sutton and Barto's "Reinforcement learning: an introduction" (second edition), drawn by polyak's agents.

    python benchmarks/figures.py [--out docs/figures] [--only 2.2 6.2 7.2 12.3] [--runs 100]

What is drawn is also said in numbers, beside what the book says or shows. Agents are made inside the compiled program,
so that one program learns with all step sizes at once.
"""

import argparse
import dataclasses
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from matplotlib import pyplot
from scipy.optimize import isotonic_regression

import polyak
from polyak.agent import Array, Key, PyTree, Spec, Step
from polyak.bandit_regret import Game
from polyak.envs.base import CompiledEnv

matplotlib.use("Agg")
ROOT = Path(__file__).resolve().parent.parent

# ---- learning, episode by episode


class Progress(NamedTuple):
    """Where one run stands."""

    block: Array  # [] int32, blocks played
    episode: Array  # [] int32, episodes that have ended
    state: PyTree  # the agent's
    env: PyTree
    obs: PyTree
    earned: Array  # [] in the present episode
    measured: Array  # [episodes, ...]
    rewards: Array  # [episodes]


def learn(
    algorithm: Any, env: CompiledEnv, episodes: int, most_steps: int, measure: Callable[[PyTree], Array], key: Key
) -> Progress:
    """Learns from episodes, one after the other, and measures the agent's state after each.

    An agent that learns from blocks is given one episode a block: what is over stays where it ended and earns nothing
    more, the absorbing state of section 3.4.

    Args:
        algorithm: one whose agent carries nothing from step to step but its state.
        env: the world.
        episodes: how many.
        most_steps: that they may take together.
        measure: what is asked of the agent's state.
        key: of all that is random.
    """
    spec = Spec(env.observation_space, env.action_space, 1, env.max_episode_steps, most_steps)
    agent, length = algorithm.agent(spec), algorithm.block_length
    blocks = most_steps // length
    agent_key, action_key, env_key, learn_key, start_key = jax.random.split(key, 5)
    env_noise = env.noise(env_key, (blocks, length))
    action_noise = agent.noise(action_key, (blocks, length, 1))

    def step(state: PyTree, now: tuple[PyTree, PyTree], noise: tuple[PyTree, PyTree]):
        at, obs = now
        action, _, extras = agent.act(state, (), obs[None], noise[0], True)
        at, next_obs, reward, terminated, truncated = env.step(at, action[0], noise[1])
        row = (reward[None], terminated[None], truncated[None], next_obs[None])
        return (at, next_obs), Step(obs[None], action, *row, extras)

    def advance(now: Progress) -> Progress:
        noise = jax.tree.map(lambda leaf: leaf[now.block], (action_noise, env_noise))
        (at, obs), block = jax.lax.scan(partial(step, now.state), (now.env, now.obs), noise)
        state = agent.observe(now.state, block)
        state, _ = agent.learn(state, block, jax.random.fold_in(learn_key, now.block))
        over, earned = (block.terminated | block.truncated).any(), now.earned + block.reward.sum()
        fresh = env.reset(jax.tree.map(lambda leaf: leaf[-1], noise[1]))
        at, obs = jax.tree.map(partial(jnp.where, over), fresh, (at, obs))
        return Progress(
            now.block + 1,
            now.episode + over,
            state,
            at,
            obs,
            jnp.where(over, 0.0, earned),
            now.measured.at[now.episode].set(measure(state)),  # again and again, last when the episode is over
            now.rewards.at[now.episode].set(earned),
        )

    state = agent.init(agent_key)
    start = env.reset(jax.tree.map(lambda leaf: leaf[0, 0], env.noise(start_key, (1, 1))))
    blank = jnp.zeros((episodes, *jax.eval_shape(measure, state).shape)), jnp.zeros(episodes)
    begin = Progress(jnp.int32(0), jnp.int32(0), state, *start, jnp.float32(0), *blank)
    return jax.lax.while_loop(lambda now: (now.episode < episodes) & (now.block < blocks), advance, begin)


def learn_often(
    algorithm: Any,
    env: CompiledEnv,
    episodes: int,
    most_steps: int,
    measure: Callable[[PyTree], Array],
    runs: int,
    sweep: dict[str, np.ndarray],
    together: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Independent runs with each of several settings, all settings on the same randomness.

    Args:
        algorithm: with the hyperparameters that all share.
        env: the world.
        episodes: of each run.
        most_steps: that they may take together.
        measure: what is asked of the agent's state after each episode.
        runs: how many.
        sweep: hyperparameter -> [settings] its numbers.
        together: runs that are stepped side by side; where the settings fill the processor, one at a time is faster.

    Returns:
        [runs, settings, episodes, ...] what was measured, and [runs, settings, episodes] the sums of rewards.
    """

    def run(key: Key) -> tuple[Array, Array, Array]:
        def with_setting(numbers: dict[str, Array]) -> tuple[Array, Array, Array]:
            progress = learn(dataclasses.replace(algorithm, **numbers), env, episodes, most_steps, measure, key)
            return progress.measured, progress.rewards, progress.episode

        return jax.vmap(with_setting)(jax.tree.map(jnp.float32, sweep))

    many = jax.jit(lambda keys: jax.lax.map(run, keys, batch_size=together))
    measured, rewards, ended = jax.device_get(many(jax.random.split(jax.random.key(0), runs)))
    if (ended < episodes).any():
        raise RuntimeError(f"{(ended < episodes).sum()} runs did not end {episodes} episodes in {most_steps} steps")
    return measured, rewards


def inner_values(state: PyTree) -> Array:
    """Measures the values between the two ends of a walk."""
    return state.v[1:-1]


def rms(truth: np.ndarray) -> Callable[[PyTree], Array]:
    """Measures the root of their mean squared error."""
    return lambda state: jnp.sqrt(jnp.mean((inner_values(state) - truth) ** 2))


def nothing(state: PyTree) -> Array:
    """Measures nothing, where rewards are all that is wanted."""
    return jnp.float32(0)


def grid(first: dict[str, Any], second: dict[str, Any]) -> dict[str, np.ndarray]:
    """All pairs of the numbers of two hyperparameters, those of the second changing faster."""
    (a, numbers), (b, others) = *first.items(), *second.items()
    return {a: np.repeat(numbers, len(others)), b: np.tile(others, len(numbers))}


# ---- drawing


def beside(axes: pyplot.Axes, place: tuple[float, float], text: str, color: Any, right: bool = True) -> None:
    """Writes a line's name next to one of its ends."""
    side = {"ha": "left" if right else "right", "va": "center"}
    axes.annotate(text, place, (6 if right else -6, 0), textcoords="offset points", color=color, fontsize=9, **side)


def spread(places: np.ndarray, gap: float) -> np.ndarray:
    """The places moved as little as keeps names there `gap` apart."""
    order, moved = np.argsort(places), np.empty(len(places))
    room = gap * np.arange(len(places))
    moved[order] = isotonic_regression(places[order] - room).x + room
    return moved


# ---- figures 2.2 to 2.6: the ten-armed testbed

TOGETHER = 100  # problems that are learnt side by side
PULLS = 1_000
ActionValues = polyak.ActionValueBandit


class OnTestbed(NamedTuple):
    """How several settings of an algorithm do: means over problems."""

    reward: np.ndarray  # [settings, pulls]
    optimal: np.ndarray  # [settings, pulls] the share of problems in which the best arm was pulled


def on_testbed(
    make: Callable[[Array], Any], numbers: np.ndarray, problems: int, mean: float = 0.0, pulls: int = PULLS
) -> OnTestbed:
    """Learns the same problems of the ten-armed testbed with each of several settings, in one program.

    Args:
        make: an algorithm from a number.
        numbers: [settings].
        problems: how many, rounded up to whole hundreds where there are more than one hundred.
        mean: of the arms' means.
        pulls: of each problem.
    """
    bandit = polyak.bandits.gaussian(mean=mean)

    def learn_one(number: Array, key: Key) -> tuple[Array, Array]:
        game = Game.of(make(number), bandit, pulls)
        _, seen = jax.lax.scan(game.play, game.start(key), jnp.arange(-(-pulls // game.length)))
        return seen.reward.reshape(-1)[:pulls], seen.optimal.reshape(-1)[:pulls]

    def learn_some(keys: Key) -> tuple[Array, Array]:
        over_problems = jax.vmap(learn_one, (None, 0))
        seen = jax.vmap(over_problems, (0, None))(jnp.float32(numbers), keys)
        return jax.tree.map(lambda leaf: leaf.mean(1), seen)

    together = min(problems, TOGETHER)
    keys = jax.random.split(jax.random.key(0), (-(-problems // together), together))
    means = jax.device_get(jax.jit(partial(jax.lax.map, learn_some))(keys))
    return OnTestbed(*(leaf.mean(0) for leaf in means))


def epsilon_greedy(epsilon: Array, **more: Any) -> Any:
    return ActionValues(exploration=polyak.EpsilonGreedy(epsilon), **more)


def optimistic(initial_value: Array) -> Any:
    return ActionValues(learning_rate=0.1, exploration=polyak.EpsilonGreedy(0.0), initial_value=initial_value)


def upper_confidence(c: Array) -> Any:
    return ActionValues(exploration=polyak.UCB(c))


EPSILONS = np.array([0.0, 0.01, 0.1])
Named = dict[str, np.ndarray]  # [pulls] by the line's name


def figure_2_2(problems: int = 2_000) -> OnTestbed:
    return on_testbed(epsilon_greedy, EPSILONS, problems)


def figure_2_3(problems: int = 2_000) -> Named:
    """The share of best arms."""
    hopeful = on_testbed(optimistic, np.array([5.0]), problems)
    realistic = on_testbed(partial(epsilon_greedy, learning_rate=0.1), np.array([0.1]), problems)
    return {"optimistic, greedy: Q = 5, epsilon = 0": hopeful.optimal[0], "Q = 0, epsilon = 0.1": realistic.optimal[0]}


def figure_2_4(problems: int = 2_000) -> Named:
    """Rewards."""
    bounds = on_testbed(upper_confidence, np.array([2.0]), problems)
    return {
        "UCB, c = 2": bounds.reward[0],
        "epsilon-greedy, 0.1": on_testbed(epsilon_greedy, np.array([0.1]), problems).reward[0],
    }


def figure_2_5(problems: int = 2_000) -> Named:
    """The share of best arms, where their means lie around 4."""
    found, alphas = {}, np.array([0.1, 0.4])
    for baseline in (True, False):

        def make(alpha: Array, baseline: bool = baseline) -> Any:
            return polyak.GradientBandit(learning_rate=alpha, baseline=baseline)

        for alpha, curve in zip(alphas, on_testbed(make, alphas, problems, mean=4.0).optimal, strict=True):
            found[f"with{'' if baseline else 'out'} baseline, alpha = {alpha:g}"] = curve
    return found


STUDIED: dict[str, tuple[Callable[[Array], Any], np.ndarray]] = {
    "epsilon-greedy: epsilon": (epsilon_greedy, 2.0 ** np.arange(-7, -1)),
    "gradient bandit: alpha": (lambda alpha: polyak.GradientBandit(learning_rate=alpha), 2.0 ** np.arange(-5, 3)),
    "UCB: c": (upper_confidence, 2.0 ** np.arange(-4, 3)),
    "optimistic greedy, alpha = 0.1: Q": (optimistic, 2.0 ** np.arange(-2, 3)),
}


def figure_2_6(problems: int = 2_000) -> Named:
    """[settings] the reward of a pull, mean over the first 1,000."""
    return {name: on_testbed(*studied, problems).reward.mean(1) for name, studied in STUDIED.items()}


def draw_2_2(found: OnTestbed, problems: int) -> pyplot.Figure:
    figure, both = pyplot.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    draw_lines(both[0], {f"{epsilon:g}": line for epsilon, line in zip(EPSILONS, found.reward, strict=True)}, 0.06)
    draw_lines(both[1], {f"{epsilon:g}": line for epsilon, line in zip(EPSILONS, found.optimal, strict=True)}, 0.04)
    both[0].set(title="reward", ylim=(0, 1.6))
    both[1].set(title="share of best arms", ylim=(0, 1))
    figure.suptitle(f"Ten-armed testbed: epsilon-greedy action values, mean of {problems:,} problems", fontsize=11)
    return figure


def draw_lines(axes: pyplot.Axes, lines: Named, gap: float) -> None:
    """A line for each name, which stands at its end."""
    heights = spread(np.array([line[-50:].mean() for line in lines.values()]), gap)
    for number, ((name, line), height) in enumerate(zip(lines.items(), heights, strict=True)):
        axes.plot(np.arange(1, len(line) + 1), line, color=f"C{number}", linewidth=0.9)
        beside(axes, (len(line), height), name, f"C{number}")
    axes.set(xlabel="pulls", xlim=(0, 1.1 * len(line)))


def draw_named(title: str, label: str, below: float, above: float, found: Named, problems: int) -> pyplot.Figure:
    figure, axes = pyplot.subplots(figsize=(6.8, 4.2), layout="constrained")
    for number, (name, line) in enumerate(found.items()):
        axes.plot(np.arange(1, len(line) + 1), line, color=f"C{number}", linewidth=0.9, label=name)
    axes.legend(frameon=False, loc="lower right")
    axes.set(xlabel="pulls", ylabel=label, xlim=(0, len(line)), ylim=(below, above))
    axes.set_title(f"{title}, mean of {problems:,} problems")
    return figure


def draw_2_6(found: Named, problems: int) -> pyplot.Figure:
    figure, axes = pyplot.subplots(figsize=(6.8, 4.2), layout="constrained")
    for (name, line), (_, numbers) in zip(found.items(), STUDIED.values(), strict=True):
        axes.plot(numbers, line, marker="o", markersize=3, linewidth=1.4, label=name)
    axes.set_xscale("log", base=2)
    axes.legend(frameon=False, loc="lower center", fontsize=9)
    axes.set(xlabel="epsilon, alpha, c, Q", ylabel=f"reward, mean of the first {PULLS:,} pulls", ylim=(0.95, 1.55))
    axes.set_title(f"Ten-armed testbed: a parameter study, mean of {problems:,} problems")
    return figure


def say_2_2(found: OnTestbed) -> list[str]:
    rewards, shares = found.reward[:, -100:].mean(1), 100 * found.optimal[:, -100:].mean(1)
    return [
        f"reward of the last 100 pulls with epsilon 0, 0.01, 0.1: {', '.join(f'{one:.2f}' for one in rewards)} "
        "(book: greedy about 1, of 1.54 that are possible)",
        f"best arm in the last 100 pulls: {', '.join(f'{one:.0f} %' for one in shares)} "
        "(book: greedy about a third; 0.1 never more than 91 %; 0.01 slower, in the end better)",
    ]


def say_2_3(found: Named) -> list[str]:
    hopeful, realistic = found.values()
    return [
        f"best arm in pulls 11 to 50: optimistic {100 * hopeful[10:50].mean():.0f} %, realistic "
        f"{100 * realistic[10:50].mean():.0f} %; in the last 100: {100 * hopeful[-100:].mean():.0f} %, "
        f"{100 * realistic[-100:].mean():.0f} % (book: optimistic worse at first, better in the end)",
        f"optimistic, pulls 10, 11 and 13: {100 * hopeful[9]:.0f} %, {100 * hopeful[10]:.0f} %, "
        f"{100 * hopeful[12]:.0f} % (book: a spike, exercise 2.6)",
    ]


def say_2_4(found: Named) -> list[str]:
    bounds, epsilon = found.values()
    above = 100 * (bounds > epsilon)[100:].mean()
    return [
        f"reward of the last 100 pulls: UCB {bounds[-100:].mean():.2f}, epsilon-greedy {epsilon[-100:].mean():.2f}; "
        f"UCB above in {above:.0f} % of pulls after 100 (book: above but for the first ten)",
        f"UCB's pulls 10, 11 and 13: {bounds[9]:.2f}, {bounds[10]:.2f}, {bounds[12]:.2f} (book: a spike, exercise 2.8)",
    ]


def say_2_5(found: Named) -> list[str]:
    last = ", ".join(f"{name}: {100 * curve[-100:].mean():.0f} %" for name, curve in found.items())
    return [f"best arm in the last 100 pulls: {last} (book: far better with baseline, and 0.1 better than 0.4)"]


def say_2_6(found: Named) -> list[str]:
    lines = []
    for (name, curve), (_, numbers) in zip(found.items(), STUDIED.values(), strict=True):
        best = int(curve.argmax())
        lines.append(
            f"{name} = {numbers[best]:g} is best: {curve[best]:.3f}; at its ends {curve[0]:.3f}, {curve[-1]:.3f}"
        )
    return [*lines, "(book: UCB best of all, and each method best in the middle of its range)"]


# ---- example 6.2: TD(0) and Monte Carlo on a walk over five states

FIVE = polyak.MDP.random_walk(5)
FIVE_TRUTH = np.arange(1, 6) / 6
TD_RATES, MC_RATES = np.array([0.05, 0.1, 0.15]), np.array([0.01, 0.02, 0.03, 0.04])


class Example62(NamedTuple):
    """What example 6.2 shows."""

    values: np.ndarray  # [101, 5] of one run of TD(0) with alpha 0.1, before and after each episode
    td: np.ndarray  # [3, 101] RMS error, mean over runs
    mc: np.ndarray  # [4, 101]


def example_6_2(runs: int = 100, episodes: int = 100) -> Example62:
    env, more = FIVE.compiled(), {"gamma": 1.0, "initial_value": 0.5}
    td, whole = polyak.TD(**more), polyak.MonteCarloPrediction(n_steps=128, first_visit=False, **more)
    values, _ = learn_often(td, env, episodes, 30 * episodes, inner_values, 1, {"learning_rate": TD_RATES[1:2]})
    error = rms(FIVE_TRUTH)
    of_td, _ = learn_often(td, env, episodes, 30 * episodes, error, runs, {"learning_rate": TD_RATES})
    of_mc, _ = learn_often(whole, env, episodes, 128 * episodes, error, runs, {"learning_rate": MC_RATES})
    at_first = np.sqrt(np.mean((0.5 - FIVE_TRUTH) ** 2))
    curves = [np.insert(errors.mean(0), 0, at_first, axis=1) for errors in (of_td, of_mc)]
    return Example62(np.insert(values[0, 0], 0, 0.5, axis=0), *curves)


def draw_6_2(found: Example62, runs: int) -> pyplot.Figure:
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    places = np.arange(1, 6)
    left.plot(places, FIVE_TRUTH, color="0.2", linewidth=1.2, marker="o", markersize=3)
    beside(left, (5, FIVE_TRUTH[-1]), "true\nvalues", "0.2")
    for episode, shade in zip((0, 1, 10, 100), pyplot.cm.Blues([0.4, 0.55, 0.75, 1.0]), strict=True):
        left.plot(places, found.values[episode], color=shade, marker="o", markersize=3)
        beside(left, (1, found.values[episode, 0]), f"{episode}", shade, right=False)
    left.set(title="TD(0), alpha = 0.1: one run after 0, 1, 10 and 100 episodes")
    left.set(xticks=places, xticklabels=list("ABCDE"), xlabel="state", xlim=(0.5, 5.6))
    left.set(ylabel="estimated value", ylim=(0, 1))
    names = [f"TD  {rate:g}" for rate in TD_RATES] + [f"MC  {rate:g}" for rate in MC_RATES]
    curves = np.concatenate([found.td, found.mc])
    heights = spread(curves[:, -1], gap=0.0115)
    for name, curve, height in zip(names, curves, heights, strict=True):
        color = "tab:blue" if name.startswith("TD") else "tab:red"
        right.plot(curve, color=color, linewidth=1.2)
        beside(right, (len(curve) - 1, height), name, color)
    right.set(title=f"RMS error over the states, mean of {runs} runs; for each alpha")
    right.set(xlabel="episodes", xticks=range(0, 101, 25), xlim=(0, curves.shape[1] + 14), ylim=(0, 0.25))
    return figure


def say_6_2(found: Example62) -> list[str]:
    td, mc = (", ".join(f"{error:.3f}" for error in errors[:, -1]) for errors in (found.td, found.mc))
    return [
        f"RMS after 100 episodes: TD with alpha 0.05, 0.1, 0.15: {td}; MC with alpha 0.01, 0.02, 0.03, 0.04: {mc}",
        f"the least at any time: TD {found.td.min():.3f}, MC {found.mc.min():.3f} (book: TD consistently better)",
    ]


# ---- figure 6.4: SARSA and Q-learning beside a cliff


def figure_6_4(runs: int = 500, episodes: int = 500) -> dict[str, np.ndarray]:
    """[episodes] the sum of rewards during each episode, mean over runs."""
    env, most_steps = polyak.MDP.from_gymnasium("CliffWalking-v1").compiled(), 40 * episodes + 10_000
    curves = {}
    for name, kind in (("SARSA", polyak.SARSA), ("Q-learning", polyak.QLearning)):
        algorithm, sweep = kind(gamma=1.0, exploration=polyak.EpsilonGreedy(0.1)), {"learning_rate": np.array([0.5])}
        _, rewards = learn_often(algorithm, env, episodes, most_steps, nothing, runs, sweep, together=50)
        curves[name] = rewards[:, 0].mean(0)
    return curves


def draw_6_4(found: dict[str, np.ndarray], runs: int, window: int = 10) -> pyplot.Figure:
    figure, axes = pyplot.subplots(figsize=(6.4, 4.2), layout="constrained")
    for (name, curve), color in zip(found.items(), ("tab:blue", "tab:red"), strict=True):
        axes.plot(curve, color=color, alpha=0.25, linewidth=0.6)
        smooth = np.convolve(curve, np.full(window, 1 / window), "valid")
        axes.plot(np.arange(len(smooth)) + window / 2, smooth, color=color, linewidth=1.6)
        above = smooth[-100:].mean()
        axes.annotate(name, (len(curve) * 0.97, above + 7), color=color, ha="right")
    axes.set(ylim=(-100, 0), xlim=(0, len(curve)), xlabel="episodes", ylabel="sum of rewards during an episode")
    setting = f"Cliff walking, alpha = 0.5, epsilon = 0.1: mean of {runs} runs"
    axes.set_title(f"{setting};\nthick: smoothed over {window} episodes")
    return figure


def say_6_4(found: dict[str, np.ndarray]) -> list[str]:
    sarsa, q = (curve[-100:].mean() for curve in found.values())
    return [f"mean over the last 100 episodes: SARSA {sarsa:.1f} (book: about -25), Q-learning {q:.1f} (about -50)"]


# ---- figures 7.2, 12.3 and 12.6: how far to look ahead, on a walk over nineteen states

NINETEEN = polyak.MDP.random_walk(19, left=-1.0, right=1.0)
NINETEEN_TRUTH = np.arange(-9, 10) / 10
RATES = np.concatenate([np.arange(0, 20) / 100, np.arange(8, 41) / 40])  # finer where long looks ahead are best
AHEAD = tuple(2**k for k in range(10))
LAMBDAS = (0.0, 0.4, 0.8, 0.9, 0.95, 0.975, 0.99, 1.0)
LONGEST = 1_200  # steps; less than one episode in a million is longer
Curves = dict[float, np.ndarray]  # n or lambda -> [step sizes] RMS error, mean over the first episodes and the runs


def figure_7_2(
    runs: int = 100, ahead: tuple[int, ...] = AHEAD, rates: np.ndarray = RATES, episodes: int = 10
) -> Curves:
    """n-step TD, for each n."""
    curves, env = {}, NINETEEN.compiled()
    for n in ahead:
        algorithm, sweep = polyak.NStepTD(n_steps=n, gamma=1.0), {"learning_rate": rates}
        errors, _ = learn_often(algorithm, env, episodes, 400 * episodes, rms(NINETEEN_TRUTH), runs, sweep)
        curves[n] = errors.mean((0, 2))
    return curves


def figure_12_3(
    runs: int = 100, lambdas: tuple[float, ...] = LAMBDAS, rates: np.ndarray = RATES, episodes: int = 10
) -> Curves:
    """The off-line lambda-return algorithm, for each lambda."""
    return _for_each_lambda(polyak.LambdaReturn(n_steps=LONGEST, gamma=1.0), runs, lambdas, rates, episodes, LONGEST)


def figure_12_6(
    runs: int = 100, lambdas: tuple[float, ...] = LAMBDAS, rates: np.ndarray = RATES, episodes: int = 10
) -> Curves:
    """TD(lambda) with accumulating traces, for each lambda."""
    return _for_each_lambda(polyak.TDLambda(replacing_traces=False, gamma=1.0), runs, lambdas, rates, episodes, 400)


def _for_each_lambda(
    algorithm: Any, runs: int, lambdas: tuple[float, ...], rates: np.ndarray, episodes: int, steps: int
) -> Curves:
    sweep = grid({"trace_lambda": lambdas}, {"learning_rate": rates})
    env, error = NINETEEN.compiled(), rms(NINETEEN_TRUTH)
    errors, _ = learn_often(algorithm, env, episodes, steps * episodes, error, runs, sweep)
    return dict(zip(lambdas, errors.mean((0, 2)).reshape(len(lambdas), -1), strict=True))


def draw_rates(axes: pyplot.Axes, curves: Curves, title: str) -> None:
    """A line for each n or lambda, with its number where it ends or leaves the frame."""
    low, high = 0.25, 0.55
    shades = pyplot.cm.viridis(np.linspace(0, 0.85, len(curves)))
    ends, leaves = [], []  # number, place along the right or the upper side, colour
    for (number, curve), shade in zip(curves.items(), shades, strict=True):
        curve = np.where(np.isfinite(curve), curve, 1e6)  # where values grew without bound
        axes.plot(RATES, curve, color=shade, linewidth=1.4)
        if curve[-1] < high:
            ends.append((number, curve[-1], shade))
        else:
            last = int(np.flatnonzero(curve < high)[-1])
            leaves.append((number, np.interp(high, curve[last : last + 2], RATES[last : last + 2]), shade))
    for (number, _, shade), height in zip(ends, spread(np.array([place for _, place, _ in ends]), 0.011), strict=True):
        beside(axes, (1.0, height), f"{number:g}", shade)
    for (number, _, shade), x in zip(leaves, spread(np.array([place for _, place, _ in leaves]), 0.028), strict=True):
        axes.annotate(f"{number:g}", (x, high), (0, 4), textcoords="offset points", color=shade, fontsize=9,
                      ha="center", va="bottom", rotation=90)  # fmt: skip
    axes.set(xlim=(0, 1), xlabel="step size alpha", ylim=(low, high))
    axes.set_title(title, pad=34)


def draw_7_2(found: Curves, runs: int) -> pyplot.Figure:
    figure, axes = pyplot.subplots(figsize=(6.4, 4.8), layout="constrained")
    draw_rates(axes, found, f"n-step TD on a walk over 19 states, mean of {runs} runs; for each n")
    axes.set_ylabel("RMS error over the states and the first 10 episodes")
    return figure


def draw_12_3(found: tuple[Curves, Curves], runs: int) -> pyplot.Figure:
    figure, both = pyplot.subplots(1, 2, figsize=(10, 4.8), layout="constrained", sharey=True)
    titles = ("Off-line lambda-return, for each lambda", "TD(lambda) with accumulating traces, for each lambda")
    for axes, curves, title in zip(both, found, titles, strict=True):
        draw_rates(axes, curves, title)
    figure.suptitle(f"A walk over 19 states, mean of {runs} runs", fontsize=11)
    both[0].set_ylabel("RMS error over the states and the first 10 episodes")
    return figure


def best_of(curves: Curves) -> tuple[float, float, float]:
    """The n or lambda with the least error, the step size at which it has it, and that error."""
    number = min(curves, key=lambda number: np.nanmin(curves[number]))
    where = int(np.nanargmin(curves[number]))
    return number, RATES[where], curves[number][where]


def say_7_2(found: Curves) -> list[str]:
    n, rate, error = best_of(found)
    least = ", ".join(f"{n}: {np.nanmin(curve):.3f}" for n, curve in found.items())
    return [
        f"best: n = {n:g} at alpha = {rate:g}, RMS {error:.3f} (book: n = 4 at about 0.4, about 0.27)",
        f"least for each n: {least}",
    ]


def say_12_3(found: tuple[Curves, Curves]) -> list[str]:
    lines = []
    for name, curves in zip(("off-line lambda-return", "TD(lambda)"), found, strict=True):
        number, rate, error = best_of(curves)
        least = ", ".join(f"{number:g}: {np.nanmin(curve):.3f}" for number, curve in curves.items())
        lines.append(f"{name}: best lambda = {number:g} at alpha = {rate:g}, RMS {error:.3f}; least for each: {least}")
    small, large = (int(np.abs(RATES - rate).argmin()) for rate in (0.1, 0.5))
    forward, backward = (curves[0.9] for curves in found)
    return [
        *lines,
        "(book: a lambda in the middle is best, about as good as the best n of figure 7.2)",
        f"lambda = 0.9, the one and the other: {forward[small]:.3f}, {backward[small]:.3f} at alpha = 0.1, "
        f"{forward[large]:.3f}, {backward[large]:.3f} at 0.5 (book: alike where alpha is small, TD worse where large)",
    ]


# ---- all of them


class Figure(NamedTuple):
    """How a figure comes about."""

    file: str
    more: int  # times as many runs as are asked for
    measure: Callable[[int], Any]  # runs -> what was found
    draw: Callable[[Any, int], pyplot.Figure]
    say: Callable[[Any], list[str]]


def figures_12_3_and_12_6(runs: int) -> tuple[Curves, Curves]:
    return figure_12_3(runs), figure_12_6(runs)


SHARE, REWARD = "share of best arms", "reward"
draw_2_3 = partial(draw_named, "Ten-armed testbed, alpha = 0.1: optimistic first values", SHARE, 0.0, 1.0)
draw_2_4 = partial(draw_named, "Ten-armed testbed: upper confidence bounds", REWARD, 0.0, 1.6)
draw_2_5 = partial(draw_named, "Ten-armed testbed around 4: the gradient bandit", SHARE, 0.0, 1.0)
FIGURES = {
    "2.2": Figure("figure-2.2.png", 20, figure_2_2, draw_2_2, say_2_2),
    "2.3": Figure("figure-2.3.png", 20, figure_2_3, draw_2_3, say_2_3),
    "2.4": Figure("figure-2.4.png", 20, figure_2_4, draw_2_4, say_2_4),
    "2.5": Figure("figure-2.5.png", 20, figure_2_5, draw_2_5, say_2_5),
    "2.6": Figure("figure-2.6.png", 20, figure_2_6, draw_2_6, say_2_6),
    "6.2": Figure("example-6.2.png", 1, example_6_2, draw_6_2, say_6_2),
    "6.4": Figure("figure-6.4.png", 5, figure_6_4, draw_6_4, say_6_4),
    "7.2": Figure("figure-7.2.png", 1, figure_7_2, draw_7_2, say_7_2),
    "12.3": Figure("figure-12.3-and-12.6.png", 1, figures_12_3_and_12_6, draw_12_3, say_12_3),
}
STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "savefig.dpi": 100,
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "figures", help="the folder for the pictures")
    parser.add_argument("--only", nargs="+", choices=FIGURES, default=list(FIGURES), help="which of them")
    parser.add_argument(
        "--runs", type=int, default=100, help="runs to average over; five times as many for 6.4, 20 for 2.x"
    )
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        figure, began = FIGURES[name], time.perf_counter()
        runs = args.runs * figure.more
        found = figure.measure(runs)
        seconds = time.perf_counter() - began
        with pyplot.rc_context(STYLE):
            drawn = figure.draw(found, runs)
            drawn.savefig(args.out / figure.file, pil_kwargs={"optimize": True})
        pyplot.close(drawn)
        print(f"{args.out / figure.file}: {seconds:.0f} s", *figure.say(found), sep="\n  ", flush=True)


if __name__ == "__main__":
    main()
