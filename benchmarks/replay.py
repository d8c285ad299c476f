"""What prioritised replay costs in time, and what the frame store costs in memory.

    python benchmarks/replay.py

Time is that of one update of DQN with one new step, in a loop inside one compiled program: `observe` of a block of one
step, then one gradient step, without an environment. Both memories are full. They take turns, and the medians of the
process's CPU time are compared. Then the same for memories of different sizes: what copied a memory would take longer
the larger it is.

Memory is that of a million 84 x 84 frames of 8 environments in stacks of 4 with prioritised replay, filled by blocks of
stacks: the bytes of all arrays, and the resident size of the process less what it had with its programs compiled and
no memory yet. Needs 8 GB.

What an update of the tree takes, counted for N = 32 draws of a million leaves, 4 levels of 32 children: to draw, each
level reads N rows of 32 floats (4 KB), makes 5 additions of such vectors and some 4 more operations on each number; to
change priorities, each level reads as many and adds them up. That is 2 x 4 x 4 KB = 33 KB and about 50,000 operations.
With two children a node, 20 levels would read 10 KB, but they start five times as many small programs, which take
about a microsecond each. A network of 64 x 64 units with 4 inputs and 2 outputs makes 32 x 4 passes x 2 x 4,480 =
1.1 million operations in an update, one of 256 x 256 units 17 million.
"""

import dataclasses
import os
import statistics
import time
from pathlib import Path

os.environ.setdefault("NPROC", "1")  # one XLA thread, as in polyak's own workers

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import tyro

import polyak
from polyak.agent import Spec, Step
from polyak.parts import replay
from polyak.parts.sum_tree import SumTree

FRAME = (84, 84)
STACK, NUM_ENVS, LENGTH = 4, 8, 8


@dataclasses.dataclass(frozen=True)
class Options:
    entries: int = 1_000_000
    """That the replay holds."""
    updates: int = 2_000
    """In one call of the compiled program."""
    rounds: int = 7
    """Calls, of which the median is taken."""
    time: bool = True
    """Measure time."""
    memory: bool = True
    """Measure memory."""


class Subject:
    """DQN with a full memory, ready to be updated."""

    def __init__(self, sampling: replay.Sampling, width: int, batch_size: int, entries: int, updates: int):
        box = gymnasium.spaces.Box(-1.0, 1.0, (4,), np.float32)
        self.updates = updates
        algorithm = polyak.DQN(
            buffer_size=entries,
            batch_size=batch_size,
            train_freq=1,
            network=polyak.MLP((width, width)),
            replay=sampling,
        )
        agent = algorithm.agent(Spec(box, gymnasium.spaces.Discrete(2), 1, None, 10**9))
        self.state = full(jax.jit(agent.init)(jax.random.key(0)), sampling, entries)

        def update(i, carry):
            state, key, _ = carry
            key = jax.random.fold_in(key, i)
            seen = jax.random.normal(key, (2, 1, 1, 4))
            over = jnp.zeros((1, 1), bool)
            block = Step(seen[0], jnp.zeros((1, 1), jnp.int32), seen[0, :, :, 0], over, over, seen[1], ())
            state, metrics = agent.learn(agent.observe(state, block), block, key)
            return state, key, metrics["loss"]

        def many(state, key):
            return jax.lax.fori_loop(0, updates, update, (state, key, jnp.float32(0)))[::2]

        self.many = jax.jit(many, donate_argnums=0)
        self.seconds()  # compiles

    def seconds(self) -> float:
        """CPU time of one update."""
        began = time.process_time()
        self.state, loss = jax.block_until_ready(self.many(self.state, jax.random.key(1)))
        assert np.isfinite(loss)
        return (time.process_time() - began) / self.updates


def full(state, sampling: replay.Sampling, entries: int):
    """The state with random transitions in all rows of its memory, of priorities that differ."""
    keys = jax.random.split(jax.random.key(1), 4)
    store = state.replay.store
    storage = store.storage._replace(
        obs=jax.random.normal(keys[0], (entries, 4)),
        next_obs=jax.random.normal(keys[1], (entries, 4)),
        reward=jax.random.normal(keys[2], (entries,)),
    )
    store = store._replace(storage=storage, size=jnp.int32(entries), laps=jnp.int32(1))
    remembered = state.replay._replace(store=store)
    if isinstance(sampling, replay.Prioritised):
        tree = SumTree(entries)
        values = jax.random.exponential(keys[3], (entries,))
        filled = jax.jit(tree.set)(tree.init(), jnp.arange(entries), values)
        remembered = remembered._replace(sampler=remembered.sampler._replace(tree=filled))
    return state._replace(replay=remembered)


def medians(subjects: list[Subject], rounds: int) -> list[float]:
    """Microseconds of an update of each, measured by turns."""
    times = [[subject.seconds() for subject in subjects] for _ in range(rounds)]
    return [1e6 * statistics.median(column) for column in zip(*times, strict=True)]


def measure_time(options: Options) -> None:
    settings = (replay.Uniform(), replay.Prioritised())
    for width in (64, 256):
        for batch_size in (32, 64):
            subjects = [Subject(s, width, batch_size, options.entries, options.updates) for s in settings]
            uniform, prioritised = medians(subjects, options.rounds)
            print(f"{width} x {width}, batch {batch_size}: uniform {uniform:.0f} us, ", end="")
            print(f"prioritised {prioritised:.0f} us, {100 * (prioritised / uniform - 1):+.0f} %", flush=True)
    for sampling in settings:
        sizes = [options.entries // 100, options.entries, 4 * options.entries]
        found = medians([Subject(sampling, 64, 32, size, options.updates) for size in sizes], options.rounds)
        told = ", ".join(f"{size:,}: {microseconds:.0f} us" for size, microseconds in zip(sizes, found, strict=True))
        print(f"{sampling.name}, entries: {told}", flush=True)


def resident(kind: str) -> float:
    """GB of this process that are in memory: VmRSS now, VmHWM at most so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{kind}:")) * 1024 / 1e9


def measure_memory(options: Options) -> None:
    space = gymnasium.spaces.Box(0, 255, (STACK, *FRAME), np.uint8)
    spec = Spec(space, gymnasium.spaces.Discrete(6), NUM_ENVS, None, 10**9)
    memory = replay.memory(
        replay.Prioritised(),
        capacity=options.entries,
        spec=spec,
        block_length=LENGTH,
        n_steps=3,
        gamma=0.99,
        frame_stack=STACK,
    )

    def block_of(stack, key):
        """Steps [T, B] that follow on `stack` [B, k, ...]; every hundredth or so is a last one."""
        frame_key, end_key = jax.random.split(key)
        pixels = jnp.arange(FRAME[0] * FRAME[1], dtype=jnp.uint32).reshape(FRAME)
        numbers = jax.random.bits(frame_key, (LENGTH, 2, NUM_ENVS, 1, 1)) | 1
        frames = (pixels * numbers >> 13).astype(jnp.uint8)  # cheap, and all different
        ends = jax.random.uniform(end_key, (LENGTH, NUM_ENVS)) < 0.01

        def step(stack, given):
            (frame, first), end = given
            after = jnp.concatenate([stack[:, 1:], frame[:, None]], 1)
            begun = jnp.where(end[:, None, None, None], jnp.repeat(first[:, None], STACK, 1), after)
            return begun, (stack, after)

        stack, (obs, next_obs) = jax.lax.scan(step, stack, (frames, ends))
        zeros = jnp.zeros(ends.shape)
        return stack, Step(obs, zeros.astype(jnp.int32), zeros, ends, jnp.zeros_like(ends), next_obs, ())

    def add_many(state, stack, key, count):
        def add(i, carry):
            stack, block = block_of(carry[1], jax.random.fold_in(key, i))
            return memory.add(carry[0], block), stack

        return jax.lax.fori_loop(0, count, add, (state, stack))

    key = jax.random.key(0)
    stack = jnp.zeros((NUM_ENVS, STACK, *FRAME), jnp.uint8)
    blocks = options.entries // (LENGTH * NUM_ENVS) + 100  # once around and a little more
    empty = jax.eval_shape(memory.init)
    add_many = jax.jit(add_many, donate_argnums=0).lower(empty, stack, key, blocks).compile()
    sample = jax.jit(memory.sample, static_argnums=2).lower(empty, key, 32, 0.5).compile()
    before = resident("VmRSS")  # with JAX and the programs
    state = memory.init()
    began = time.process_time()
    state, stack = jax.block_until_ready(add_many(state, stack, key, blocks))
    taken = (time.process_time() - began) / blocks
    drawn = sample(state, key, 0.5)
    assert float(memory.metrics(state)["replay_size"]) > 0 and float(drawn.weights.max()) == 1.0
    began = time.process_time()
    for i in range(200):
        drawn = sample(state, jax.random.key(i), 0.5)
    jax.block_until_ready(drawn)
    drawing = (time.process_time() - began) / 200
    nbytes = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) / 1e9
    now, most = resident("VmRSS") - before, resident("VmHWM") - before
    print(f"{options.entries:,} frames of 84 x 84: {nbytes:.3f} GB in arrays, {now:.3f} GB more resident than before")
    print(f"({before:.3f} GB), {most:.3f} GB at most; to make and add a block of {LENGTH} x {NUM_ENVS} steps takes")
    print(f"{1e3 * taken:.2f} ms, to draw 32 {1e3 * drawing:.2f} ms", flush=True)


def main(options: Options) -> None:
    if options.memory:
        measure_memory(options)
    if options.time:
        measure_time(options)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
