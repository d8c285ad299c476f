"""What checkpoints cost: bytes and pause with a replay of a million frames, and the speed of training beside them.

    python benchmarks/checkpoints.py

The replay holds 84 x 84 frames, 7.1 GB. It is filled by 250,000 at a time with a checkpoint after each, so that the
last one is made of 250,000 new frames and 750,000 old. Pause is the time in which training stands still while what is
new is copied: after every 10,000 frames the pieces that have become full, at the checkpoint the rest; a thread writes
them. Speed is that of DQN on CartPole with 256 x 256 units, in windows with and without checkpoints by turns;
checkpoints are made every two seconds, thirty times as often as by default. Needs 12 GB of memory and 18 GB of disk;
--frames makes it smaller.
"""

import dataclasses
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import polyak
from polyak import envs
from polyak.agent import Array, Spec
from polyak.engines.compiled import CompiledEngine
from polyak.parts.ring import Ring
from polyak.runs import state
from polyak.runs.checkpoint import verify
from polyak.runs.keeper import Content, Keeper

BLOCK = 250  # frames added at a time
CHUNK = 40  # blocks between two looks: 10,000 frames


@dataclasses.dataclass(frozen=True)
class Options:
    frames: int = 1_000_000
    """That the replay holds; a multiple of 1,000."""
    windows: int = 8
    """Of training with and without checkpoints, each."""
    seconds: float = 6.0
    """Of a window."""


class Frame(NamedTuple):
    """What a memory for pixels keeps of a step."""

    pixels: Array  # [84, 84] uint8
    action: Array
    reward: Array
    terminated: Array
    truncated: Array


def keeper_in(folder: Path, events: list[dict]) -> Keeper:
    return Keeper(folder, [0], 2, events.append)


def content_of(tree, keeper: Keeper, ahead: state.Ahead | None = None) -> Content:
    captured = state.capture(tree, keeper.last[0], None, ahead)
    return Content(captured, None, {"memories": captured.memories, "score": None})


def frames(options: Options, folder: Path) -> None:
    memory = Ring.of(options.frames, BLOCK)
    false = jnp.bool_(False)
    replay = memory.init(Frame(jnp.zeros((84, 84), jnp.uint8), jnp.int32(0), jnp.float32(0), false, false))

    @jax.jit
    def block(key):
        pixels = jax.random.bits(key, (1, BLOCK, 84, 84), jnp.uint8)  # nothing that a disk could shrink
        flags = jnp.zeros((1, BLOCK), bool)
        return Frame(pixels, jnp.ones((1, BLOCK), jnp.int32), jnp.ones((1, BLOCK)), flags, flags)

    add = jax.jit(memory.add, donate_argnums=0)
    events: list[dict] = []
    keeper = keeper_in(folder, events)
    quarter = options.frames // 4
    ahead = state.Ahead()
    for number in range(5):  # four times until it is full, once more with a quarter that is new
        pauses: list[float] = []
        for i in range(quarter // BLOCK):
            replay = add(replay, block(jax.random.fold_in(jax.random.key(number), i)))
            if (i + 1) % CHUNK == 0:
                jax.block_until_ready(replay)
                began = time.perf_counter()
                ahead.look({"replay": replay})
                pauses.append(time.perf_counter() - began)
        jax.block_until_ready(replay)
        began = time.perf_counter()
        keeper.save((number + 1) * quarter, {0: content_of({"replay": replay}, keeper, ahead)})
        pauses.append(time.perf_counter() - began)
        keeper.wait()
        event = events[-1]
        print(f"{(number + 1) * quarter:>9,} frames seen: {event['bytes'] / 1e9:.2f} GB written; ", end="")
        print(f"pause {pauses[-1]:.2f} s, {len(pauses) - 1} before it of at most {max(pauses[:-1]):.2f} s; ", end="")
        print(f"in the background {event['seconds']:.1f} s", flush=True)
    keeper.close()
    began = time.perf_counter()
    found = verify(keeper.last[0].path)
    checked = time.perf_counter() - began
    expected = np.asarray(replay.storage.pixels[:: options.frames // 50])
    began = time.perf_counter()
    replay = state.restore({"replay": replay}, [found], batched=False)["replay"]
    read = time.perf_counter() - began
    assert np.array_equal(replay.storage.pixels[:: options.frames // 50], expected)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"resume: {checked:.1f} s to verify, {read:.1f} s to read; most memory {peak:.1f} GB", flush=True)


def speed(options: Options, folder: Path) -> None:
    algorithm = polyak.DQN(train_freq=1, learning_starts=1_000, buffer_size=100_000, network=polyak.MLP((256, 256)))
    env = envs.make("CartPole-v1", 1)
    spec = Spec(env.observation_space, env.action_space, 1, env.max_episode_steps, 10**6)
    engine = CompiledEngine(algorithm, algorithm.agent(spec), env, spec, 200)
    loop = engine.init(0)
    for _ in range(500):  # a replay of 100,000 transitions, full
        loop, _ = engine.advance(loop, 200, False)
    loop, _ = engine.advance(loop, 200, True)
    keeper = keeper_in(folder, [])
    rates: dict[bool, list[float]] = {False: [], True: []}
    saved, step = 0.0, 0
    for window in range(2 * options.windows):
        saving = window % 2 == 1
        began, made = time.perf_counter(), 0
        while (now := time.perf_counter()) - began < options.seconds:
            if saving and now - saved > 2.0:
                saved, step = now, step + 1
                keeper.save(step, {0: content_of(loop, keeper)})
            loop, _ = engine.advance(loop, 200, True)
            made += 200
        keeper.wait()
        rates[saving].append(made / (time.perf_counter() - began))
    keeper.close()
    without, beside = (statistics.median(rates[saving]) for saving in (False, True))
    cost = statistics.median(1 - b / a for a, b in zip(rates[False], rates[True], strict=True))
    print(f"DQN: {without:,.0f} steps/s without checkpoints, {beside:,.0f} with one every 2 s: {100 * cost:.1f} % less")
    print(f"at one a minute that is {100 * cost / 30:.2f} %")


def main(options: Options) -> None:
    for measure in (frames, speed):
        with tempfile.TemporaryDirectory(dir=".") as folder:  # on this disk; the usual place may be memory
            measure(options, Path(folder))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
