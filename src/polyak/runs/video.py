"""Films of an agent in its Gymnasium environment."""

import contextlib
import importlib.util
import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from polyak.envs import EnvLike, make_original, name_of, without_import
from polyak.envs.one import said, time_limit
from polyak.errors import BadFile, BadSetting, EnvironmentFault
from polyak.evaluation import LONGEST
from polyak.policy import Policy

HEIGHT = 420  # pixels that a film has at most, where pictures are smaller and can be enlarged: twice Atari's screen
SIZE_FACTOR = 16  # video encoders want sides that are multiples of this


def film(
    policy: Policy,
    path: Path | None,
    folder: Path,
    env: EnvLike | None = None,
    episodes: int = 1,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Path, list[float]]:
    """Plays whole episodes and films them.

    Args:
        policy: plays.
        path: the file, `.mp4` or `.gif`; by default `episode.mp4` in `folder`, or `.gif` without the extra `video`.
        folder: where the default goes.
        env: an id or a function that takes `render_mode`; by default the policy's.
        episodes: how many, one after the other.
        seed: of the first episode; the others follow.
        progress: called as `progress(finished, episodes)` at the start and whenever an episode has ended.

    Returns:
        The path, and the return of each episode.

    Raises:
        EnvironmentFault: the environment cannot be drawn.
        BadSetting: the file's ending is neither of the two.
    """
    path = path or folder / f"episode{ending()}"
    check_ending(path)
    world = drawable(env if env is not None else without_import(policy.env), policy.env)
    policy.check_actions(world.action_space, name_of(env or policy.env))
    returns: list[float] = []
    try:
        tell = progress or (lambda finished, episodes: None)
        frames = _frames(policy, world, name_of(env or policy.env), range(seed, seed + episodes), returns, tell)
        write_film(path, frames, int(world.metadata.get("render_fps", 30)))
    finally:
        world.close()
    return path, returns


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
    """
    check_ending(path)
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
