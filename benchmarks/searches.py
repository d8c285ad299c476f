"""All searches among policies, side by side on CartPole, and the paths of four over a landscape.

    python -m benchmarks.searches [--seeds 10] [--steps 100000] [--out docs/figures]

Every search has its preset's settings, and its own random numbers; what is drawn is what the policy that it would hand
over earns in 20 episodes, after every generation, against the environment steps that all members made. The second
picture is of a linear policy with two parameters on MountainCarContinuous, with a film beside it.
"""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.ticker import EngFormatter

import polyak
from polyak.agent import Agent, Array, Key, PyTree, Spec
from polyak.engines.compiled import CompiledEngine
from polyak.envs.base import CompiledEnv
from polyak.pictures.curves import summary_band
from polyak.pictures.landscape import draw_landscape, linear_policy_score
from polyak.pictures.picture import finished, new_axes
from polyak.presets import preset
from polyak.settings import build

SEARCHES = (
    "random-search",
    "hill-climbing",
    "nelder-mead",
    "simulated-annealing",
    "genetic",
    "cem",
    "cma-es",
    "openai-es",
    "ars",
    "deep-cem",
)
EPISODES = 20
QUARTERS = (0.25, 0.5, 1.0)  # shares of the steps that are told of


class Progress(NamedTuple):
    """What one search found."""

    steps: np.ndarray  # [G] environment steps of all members
    returns: np.ndarray  # [seeds, G] of the policy that it would hand over


def play(agent: Agent, env: CompiledEnv, state: PyTree, key: Key) -> Array:
    """The mean return [] of the policy, without exploring, in fresh episodes."""
    longest = env.max_episode_steps
    assert longest is not None
    noise = env.noise(key, (longest + 1, EPISODES))
    starts, noise = (jax.tree.map(lambda leaf, i=i: leaf[i], noise) for i in (0, slice(1, None)))

    def step(now: Any, noise: PyTree) -> Any:
        world, obs, going = now
        action = agent.act(state, (), obs, (), False)[0]
        world, obs, reward, terminated, truncated = jax.vmap(env.step)(world, action, noise)
        return (world, obs, going & ~(terminated | truncated)), jnp.where(going, reward, 0.0)

    world, obs = jax.vmap(env.reset)(starts)
    return jax.lax.scan(step, (world, obs, jnp.ones(EPISODES, bool)), noise)[1].sum(0).mean()


def search(name: str, env: CompiledEnv, steps: int, seeds: int) -> Progress:
    """Runs a search with the settings of its preset, all seeds in one program."""
    found = preset(name, env.id)
    assert found is not None
    algorithm = build(name, found.settings)
    spec = Spec(env.observation_space, env.action_space, found.num_envs, env.max_episode_steps, steps)
    agent = algorithm.agent(spec)
    engine = CompiledEngine(algorithm, agent, env, spec, 1, batched=True)
    judge = jax.jit(jax.vmap(lambda state, key: play(agent, env, state, key)))
    loop, returns = engine.init(np.arange(seeds)), []
    for generation in range(steps // engine.block_size):
        loop, _ = engine.advance(loop, 1, True)
        returns.append(np.asarray(judge(loop.agent, jax.random.split(jax.random.key(1_000 + generation), seeds))))
    grid = engine.block_size * np.arange(1, len(returns) + 1)
    return Progress(grid, np.stack(returns, 1))


def draw_searches(found: dict[str, Progress], path: Path) -> None:
    """Draws the mean over seeds of each search, with its 95 % interval."""
    axes = new_axes(8, 4.8)
    for number, (name, progress) in enumerate(found.items()):
        color = f"C{number}"
        grid, mean, low, high = summary_band(progress.steps, progress.returns)
        axes.fill_between(grid, low, high, color=color, alpha=0.12, linewidth=0)
        axes.plot(grid, mean, color=color, linewidth=1.8, label=name)
    axes.set(xlabel="environment steps of all members", ylabel="return of the policy handed over")
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    seeds = len(next(iter(found.values())).returns)
    axes.legend(frameon=False, fontsize="small", ncols=2, title=f"mean of {seeds} seeds and 95 % interval")
    finished(axes, False, path, path)


def landscape(folder: Path) -> None:
    """Draws the landscape and its film."""
    searches = [
        polyak.HillClimbing(sigma=0.3),
        polyak.NelderMead(edge=0.5),
        polyak.SimulatedAnnealing(temperature=10.0, sigma=0.5, final_sigma=0.05),
        polyak.OpenAIES(sigma=0.5, learning_rate=0.1, optimizer=polyak.Adam()),
    ]
    score = linear_policy_score(polyak.make("MountainCarContinuous-v0"))
    picture = draw_landscape(
        *(score, searches),
        low=-2.0,
        high=2.0,
        start=(1.0, -0.5),
        members=8,
        generations=30,
        path=folder / "landscape.png",
        title="A linear policy on MountainCarContinuous",
    )
    picture.figure.axes[0].set(xlabel="weight of the position", ylabel="weight of the velocity")
    picture.save(folder / "landscape.png")
    picture.film(folder / "landscape.gif")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10, help="seeds of each search")
    parser.add_argument("--steps", type=int, default=100_000, help="environment steps of each seed, all members")
    parser.add_argument("--only", nargs="*", default=SEARCHES, choices=SEARCHES, help="these searches")
    parser.add_argument("--out", type=Path, default=Path("docs/figures"), help="folder of the pictures")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    env: Any = polyak.make("CartPole-v1")
    found = {}
    for name in arguments.only:
        found[name] = progress = search(name, env, arguments.steps, arguments.seeds)
        last = progress.returns[:, -1]
        at = [
            f"{np.interp(share * arguments.steps, progress.steps, progress.returns.mean(0)):5.0f}" for share in QUARTERS
        ]
        print(f"{name:20} after a quarter, half, all of the steps: {' '.join(at)}; worst seed {last.min():4.0f}")
    draw_searches(found, arguments.out / "searches.png")
    landscape(arguments.out)


if __name__ == "__main__":
    main()
