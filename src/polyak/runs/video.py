"""Films of an agent in its Gymnasium environment."""

import atexit
import contextlib
import dataclasses
import html
import importlib.util
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from polyak.envs import EnvLike, make_original, name_of, without_import
from polyak.envs.one import said, time_limit
from polyak.errors import BadFile, BadSetting, EnvironmentFault
from polyak.evaluation import LONGEST
from polyak.policy import Policy, load
from polyak.runs import notebook
from polyak.runs.store import slug

if TYPE_CHECKING:
    from polyak.run import Run

HEIGHT = 420  # pixels that a film has at most, where pictures are smaller and can be enlarged: twice Atari's screen
SIZE_FACTOR = 16  # video encoders want sides that are multiples of this
LARGEST = 5 * 2**20  # bytes of a film that plays in a notebook: marimo shows 8 MB in base64


@dataclasses.dataclass(frozen=True)
class Video:
    """A film of whole episodes; a notebook plays it in its cell.

    Attributes:
        path: the file, `.mp4` or `.gif`.
        returns: the undiscounted return of each episode.
    """

    path: Path
    returns: list[float]

    def __str__(self) -> str:
        return str(self.path)

    def _repr_html_(self) -> str:
        about, where = f"return {', '.join(f'{value:g}' for value in self.returns)}", html.escape(str(self.path))
        try:
            size = self.path.stat().st_size
            content = self.path.read_bytes() if size <= LARGEST else None
        except OSError as error:
            return f"<p>{about}; the film cannot be read: {html.escape(error.strerror or str(error))}: {where}</p>"
        if content is None:
            return f"<p>{about}; the film, {size / 2**20:.1f} MiB, is too large to play here: {where}</p>"
        mp4 = self.path.suffix == ".mp4"
        source = f'style="max-width: 100%" src="{notebook.embedded("video/mp4" if mp4 else "image/gif", content)}"'
        player = f"<video controls loop muted playsinline {source}></video>" if mp4 else f'<img alt="film" {source}>'
        return f"<div>{player}<br><small>{about}</small></div>"


def film(
    policy: "Policy | Run | str | os.PathLike",
    path: str | os.PathLike | None = None,
    *,
    env: EnvLike | None = None,
    episodes: int = 1,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Video:
    """Plays whole episodes with a policy in the Gymnasium environment and films them; a notebook plays the film.

    An episode that no time limit ends is cut after 27,000 steps.

    Args:
        policy: plays; of a run the final policy of its best seed. A path is that of a policy file or a run folder.
        path: the file, `.mp4` or `.gif`; one that is there is replaced. By default `episode.mp4` in the run folder or
            beside the policy file, and `episode-CartPole-v1.mp4` in the working directory for a policy; in a notebook
            it is a temporary file, which is gone when the notebook's process ends. Without the extra `video` these
            are `.gif`.
        env: an id, or a function that takes `render_mode` and returns a `gymnasium.Env`; by default the one the policy
            was trained on.
        episodes: how many, one after the other.
        seed: of the first episode; the others follow.
        progress: called as `progress(finished, episodes)` at the start and whenever an episode has ended.

    Returns:
        The film; `video.path` is the file, `video.returns` the return of each episode.

    Raises:
        EnvironmentFault: the environment cannot be drawn, or it breaks Gymnasium's interface.
        BadSetting: the policy does not suit the environment, or the file's ending is neither of the two.
        BadFile: the policy cannot be read, or the film not be written.
    """
    if episodes < 1:
        raise BadSetting(f"episodes is {episodes}; it takes at least one.")
    player, own_env, folder = _opened(policy)
    if env is None:
        env = without_import(own_env) if isinstance(own_env, str) else own_env
    if env is None:
        raise BadSetting(f"{folder} was trained on an environment of your own; give it: env={player.env}.")
    file = Path(path) if path is not None else _default(player, folder)
    check_ending(file)
    world = drawable(env, player.env)
    player.check_actions(world.action_space, name_of(env))
    returns: list[float] = []
    try:
        tell = progress or (lambda finished, episodes: None)
        frames = _frames(player, world, name_of(env), range(seed, seed + episodes), returns, tell)
        write_film(file, frames, int(world.metadata.get("render_fps", 30)))
    finally:
        world.close()
    return Video(file, returns)


def _opened(policy: "Policy | Run | str | os.PathLike") -> "tuple[Policy, EnvLike | None, Path | None]":
    """The policy, its environment, None where no file can hold that, and the folder in which it lies."""
    from polyak.run import Run

    if isinstance(policy, Policy):
        return policy, policy.env, None
    if isinstance(policy, str | os.PathLike):
        path = Path(policy)
        if not path.is_dir():
            return (player := load(path)), player.env, path.parent
        policy = Run(path)
    if not isinstance(policy, Run):
        raise BadSetting(f"film takes a policy, a run, or the path of one, not {type(policy).__name__}.")
    return policy.policy(), policy.env, policy.path


def _default(policy: Policy, folder: Path | None) -> Path:
    """Where a film goes whose file nobody has named."""
    if notebook.in_notebook():
        own = Path(tempfile.mkdtemp(prefix="polyak-"))
        atexit.register(shutil.rmtree, own, ignore_errors=True)
        return own / f"episode{ending()}"
    return folder / f"episode{ending()}" if folder else Path(f"episode-{slug(policy.env)}{ending()}")


def _frames(
    policy: Policy,
    world: gymnasium.Env,
    name: str,
    seeds: Sequence[int],
    returns: list[float],
    progress: Callable[[int, int], None],
) -> Iterator[np.ndarray]:
    """The pictures of one episode for each seed, while it is played: those of a long game would not fit into memory."""
    progress(0, len(seeds))
    longest = max(time_limit(world) or 0, LONGEST)
    for episode, seed in enumerate(seeds):
        obs, _ = world.reset(seed=seed)
        yield _picture(world, name)
        total, over, steps, player = 0.0, False, 0, policy.player(1)
        while not over and steps < longest:
            action = policy.actions(player(policy.rows(obs)[None], np.array([steps == 0]))[0])
            try:
                obs, reward, terminated, truncated, _ = world.step(action)
            except Exception as error:
                what = f"step {steps} of episode {episode} raised {said(error)}"
                raise EnvironmentFault(f"{name}: {what}.") from error
            yield _picture(world, name)
            total, over, steps = total + float(reward), terminated or truncated, steps + 1
        returns.append(total)
        progress(len(returns), len(seeds))


def check_ending(path: Path) -> None:
    """Raises `BadSetting` where a film of that name cannot be written here."""
    if path.suffix not in (".mp4", ".gif"):
        raise BadSetting(f"{path} is neither .mp4 nor .gif.")
    if path.suffix == ".mp4" and ending() != ".mp4":
        raise BadSetting("Writing .mp4 needs `pip install polyak[video]`; .gif works without.")


def write_film(path: Path, frames: Iterator[np.ndarray], rate: int) -> Path:
    """Writes pictures [height, width, 3] uint8 as a film, `rate` of them a second; returns its path.

    Raises:
        BadSetting: the ending is neither .mp4 nor .gif, or needs the extra `video`.
        BadFile: the file cannot be written.
    """
    check_ending(path)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise BadFile(f"{path} cannot be written: {path.parent} is no folder that you can write to.")
    with tempfile.TemporaryDirectory(prefix=".", suffix=".part", dir=path.parent) as own:
        unfinished = Path(own) / path.name
        (_write_mp4 if path.suffix == ".mp4" else _write_gif)(unfinished, frames, rate)
        os.replace(unfinished, path)  # of a link it takes the place; nothing is written through it
    return path


def ending() -> str:
    """The ending of films that can be written here: `.mp4` where the extra `video` is installed, else `.gif`."""
    return ".gif" if importlib.util.find_spec("imageio_ffmpeg") is None else ".mp4"


def drawable(env: EnvLike | None, name: str) -> gymnasium.Env:
    """One environment that draws itself, by default the one of that name; raises `EnvironmentFault` if it cannot."""
    for driver in ("SDL_AUDIODRIVER", "SDL_VIDEODRIVER"):
        os.environ.setdefault(driver, "dummy")  # neither a sound card nor a screen is needed to draw
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        os.environ.setdefault("MUJOCO_GL", "egl")  # the same for MuJoCo, whose first choice is a window
    try:
        world = make_original(env if env is not None else name, render_mode="rgb_array")
    except EnvironmentFault as error:
        hint = "; what makes it must take render_mode" if callable(env) else ""
        raise EnvironmentFault(f"{name} cannot be drawn: {str(error).rstrip('.')}{hint}.") from error
    if "rgb_array" not in world.metadata.get("render_modes", []):
        world.close()
        raise EnvironmentFault(f"{name} cannot be drawn: it has no render mode rgb_array.")
    return world


def _picture(world: gymnasium.Env, name: str) -> np.ndarray:
    try:
        frame: Any = world.render()
    except Exception as error:
        raise EnvironmentFault(f"{name} cannot be drawn: render() raised {said(error)}.") from error
    if frame is None:
        raise EnvironmentFault(f"{name} cannot be drawn: render() returned None; expected an image [height, width, 3].")
    frame = np.asarray(frame)
    if frame.dtype != np.uint8:  # MinAtar draws in shares of full brightness
        frame = (255 * np.clip(frame, 0.0, 1.0)).astype(np.uint8)
    factor = max(1, HEIGHT // frame.shape[0])  # ten pixels a side are too few to look at
    return frame.repeat(factor, 0).repeat(factor, 1)


def _write_mp4(path: Path, frames: Iterator[np.ndarray], rate: int) -> None:
    """Writes a film by ffmpeg, which is started without a fork, fatal to JAX's threads, and ignores Ctrl-C."""
    import imageio_ffmpeg

    first = next(frames)
    missing = [(0, -side % SIZE_FACTOR) for side in first.shape[:2]]
    height, width = (side + more for side, (_, more) in zip(first.shape, missing, strict=False))
    pictures = f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {rate} -i -"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), *f"-y -loglevel error {pictures} -an -c:v libx264 -crf 25".split()]
    command += ["-pix_fmt", "yuv420p", str(path.resolve())]
    with tempfile.TemporaryFile() as errors:
        with (
            contextlib.suppress(BrokenPipeError),  # `errors` say why
            subprocess.Popen(command, stdin=subprocess.PIPE, stderr=errors, process_group=0) as film,
        ):
            assert film.stdin
            for frame in itertools.chain([first], frames):
                film.stdin.write(np.pad(frame, (*missing, (0, 0)), mode="edge").tobytes())
        if film.returncode:
            errors.seek(0)
            said = " ".join(errors.read().decode(errors="replace").split())
            raise BadFile(f"{path} could not be written by ffmpeg: {said}.")


def _write_gif(path: Path, frames: Iterator[np.ndarray], rate: int) -> None:
    from PIL import Image

    step = max(1, rate // 25)  # viewers slow down anything faster than 50 pictures a second
    pictures = [Image.fromarray(frame).quantize(64) for frame in itertools.islice(frames, 0, None, step)]
    duration = max(20, round(1000 * step / rate))
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=duration, loop=0, optimize=False)
