"""The landscape of a policy with two parameters, and the paths of searches over it."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg

from polyak.agent import Array, Key
from polyak.envs.base import CompiledEnv
from polyak.errors import BadSetting
from polyak.parts.population import Search
from polyak.pictures.picture import Picture, finished, new_axes
from polyak.runs.video import write_film

Score = Callable[[Array], Array]  # x [2] -> what it is worth []
RESOLUTION = 61  # points of the landscape along each axis
RATE = 4  # generations a second, in films


class Searcher(Protocol):
    """An algorithm of `algorithms.search`."""

    name: Any

    def search(self, size: int) -> Search:
        """The search with a population of `size` members."""
        ...


class Route(NamedTuple):
    """Where a search has been."""

    name: str
    best: np.ndarray  # [G + 1, 2] what would have acted before and after each generation
    members: np.ndarray  # [G, P, 2] what was tried


class Landscape(Picture):
    """The still picture, which can be drawn generation by generation too."""

    def __init__(self, picture: Picture, scores: np.ndarray, box: tuple[np.ndarray, np.ndarray], routes: list[Route]):
        super().__init__(picture.figure, picture.path)
        self.scores, self.box, self.routes = scores, box, routes

    def film(self, path: str | os.PathLike) -> Path:
        """Writes the film of the searches, a generation a picture, to a `.gif` or `.mp4`; returns its path.

        Raises:
            BadSetting: another ending, or `.mp4` without the extra `video`.
        """
        return write_film(Path(path), self._frames(), RATE)

    def _frames(self) -> Iterator[np.ndarray]:
        for generation in range(len(self.routes[0].members)):
            axes = new_axes(6.4, 4.8)
            paint_landscape(axes, self.scores, self.box)
            for number, route in enumerate(self.routes):
                axes.plot(*route.members[generation].T, ".", color=f"C{number}", markersize=5, alpha=0.8)
                paint_route(axes, route._replace(best=route.best[: generation + 2]), number)
            canvas = FigureCanvasAgg(axes.figure)  # type: ignore[arg-type]
            axes.set_title(f"generation {generation + 1}")
            canvas.draw()
            yield np.asarray(canvas.buffer_rgba())[..., :3].copy()


def draw_landscape(
    score: Score,
    algorithms: Sequence[Searcher],
    *,
    low: float | Sequence[float] = -1.0,
    high: float | Sequence[float] = 1.0,
    start: Sequence[float] = (0.0, 0.0),
    members: int = 8,
    generations: int = 30,
    seed: int = 0,
    path: str | os.PathLike | None = None,
    title: str | None = None,
    axes: Axes | None = None,
) -> Landscape:
    """Draws what policies with two parameters are worth, and the paths of searches among them.

    All searches begin at the same point and try as many members. A line joins what each would have acted with, from
    generation to generation; `picture.film(path)` shows the members too.

    Args:
        score: x [2] -> what it is worth [], a function that compiles; `linear_policy_score` makes one of a world.
        algorithms: searches, such as `polyak.HillClimbing()`.
        low: the least x that is drawn, one number or two.
        high: the largest.
        start: where the searches begin.
        members: that each of them tries in a generation; even for those that work in pairs.
        generations: how many.
        seed: of the searches.
        path: where to save it; by default `landscape.png`, and in a notebook nowhere: there it shows itself.
        title: above it; by default none.
        axes: matplotlib axes to draw into, as one picture among others; then it is saved only to `path`.

    Returns:
        The picture; `picture.path` is the file, `picture.routes` where the searches have been.

    Raises:
        BadSetting: no algorithm is given, or one searches for nothing.
    """
    for algorithm in algorithms:
        if not hasattr(algorithm, "search"):
            raise BadSetting(f"{algorithm.name} is no search among policies; polyak.HillClimbing() is one.")
    if not algorithms or generations < 1:
        raise BadSetting("draw_landscape takes at least one search, and at least one generation.")
    box = np.broadcast_to(np.asarray(low, float), 2), np.broadcast_to(np.asarray(high, float), 2)
    points = np.stack(np.meshgrid(*(np.linspace(*ends, RESOLUTION) for ends in zip(*box, strict=True))), -1)
    scores = np.asarray(jax.jit(jax.vmap(jax.vmap(score)))(jnp.asarray(points, jnp.float32)))
    routes = [follow(algorithm, score, start, members, generations, seed) for algorithm in algorithms]
    canvas = axes or new_axes(6.4, 4.8)
    paint_landscape(canvas, scores, box)
    for number, route in enumerate(routes):
        paint_route(canvas, route, number)
    if title is not None:
        canvas.set_title(title)
    return Landscape(finished(canvas, axes is None, path, "landscape.png"), scores, box, routes)


def follow(
    algorithm: Searcher, score: Score, start: Sequence[float], members: int, generations: int, seed: int
) -> Route:
    """Searches from a point on, and remembers the way."""
    search = algorithm.search(members)
    x = jnp.asarray(start, jnp.float32)

    def generation(state: Any, at: tuple[Key, Array]):
        ask_key, tell_key = jax.random.split(at[0])
        tried = search.ask(state, ask_key)
        state = search.tell(state, tried, jax.vmap(score)(tried), tell_key, at[1])
        return state, (search.best(state), tried)

    @jax.jit
    def run(key: Key) -> tuple[Array, Array]:
        first_key, key = jax.random.split(key)
        progress = jnp.arange(1, generations + 1) / generations
        return jax.lax.scan(generation, search.init(first_key, x), (jax.random.split(key, generations), progress))[1]

    best, tried = run(jax.random.key(seed))
    return Route(algorithm.name, np.concatenate([np.asarray(x)[None], best]), np.asarray(tried))


def paint_landscape(axes: Axes, scores: np.ndarray, box: tuple[np.ndarray, np.ndarray]) -> None:
    """Paints scores [n, n], the rows of which are of one second parameter each."""
    along, up = (np.linspace(*ends, len(scores)) for ends in zip(*box, strict=True))
    filled = axes.contourf(along, up, scores, levels=24, cmap="Greys_r", alpha=0.9)
    axes.figure.colorbar(filled, ax=axes, label="return")
    axes.set(xlim=(along[0], along[-1]), ylim=(up[0], up[-1]), xlabel="first parameter", ylabel="second parameter")


def paint_route(axes: Axes, route: Route, number: int) -> None:
    """Paints the line of a search, and a point where it has arrived."""
    axes.plot(*route.best.T, color=f"C{number}", linewidth=1.8, label=route.name)
    axes.plot(*route.best[-1], "o", color=f"C{number}", markeredgecolor="white", markersize=8)
    axes.legend(loc="upper left", fontsize="small", framealpha=0.9)


def linear_policy_score(env: CompiledEnv, episodes: int = 8, seed: int = 0) -> Score:
    """What a linear policy with two parameters is worth in a world with two features and one action that is a number.

        action = middle + half clip(x . z, -1, 1)

    where z are the features less the middle of their range, over half of it; middle and half are those of the actions.

    Args:
        env: the world; both its spaces are bounded.
        episodes: the same ones for every x, the mean of which counts.
        seed: of the episodes.

    Returns:
        x [2] -> mean return [].

    Raises:
        BadSetting: the world has other features or actions, or no time limit.
    """
    observed, acted = env.observation_space, env.action_space
    boxes = isinstance(observed, gymnasium.spaces.Box) and isinstance(acted, gymnasium.spaces.Box)
    if not boxes or observed.shape != (2,) or acted.shape != (1,) or env.max_episode_steps is None:
        raise BadSetting(
            "A landscape of two parameters needs two features, one action that is a number, and a time limit; "
            f"{env.id} has observations {observed} and actions {acted}."
        )
    bounds = [(space.low, space.high) for space in (observed, acted) if isinstance(space, gymnasium.spaces.Box)]
    (middle, half), (action_middle, action_half) = (((high + low) / 2, (high - low) / 2) for low, high in bounds)
    if not np.isfinite([*half, *action_half]).all():
        raise BadSetting(f"A landscape is drawn of features and actions with bounds, and {env.id} has some without.")
    noise = env.noise(jax.random.key(seed), (env.max_episode_steps + 1, episodes))
    starts, noise = (jax.tree.map(lambda leaf, i=i: leaf[i], noise) for i in (0, slice(1, None)))

    def score(x: Array) -> Array:
        def step(now: tuple[Any, Array, Array], noise: Any):
            state, obs, going = now
            action = action_middle + action_half * jnp.clip((obs - middle) / half @ x, -1.0, 1.0)[:, None]
            state, obs, reward, terminated, truncated = jax.vmap(env.step)(state, action, noise)
            return (state, obs, going & ~(terminated | truncated)), jnp.where(going, reward, 0.0)

        state, obs = jax.vmap(env.reset)(starts)
        _, rewards = jax.lax.scan(step, (state, obs, jnp.ones(episodes, bool)), noise)
        return rewards.sum(0).mean()

    return score
