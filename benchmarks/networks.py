"""Time of networks that read images: acting and updating, in polyak, with XLA's own convolution, and in PyTorch.

    python benchmarks/networks.py [--rounds 5] [--only nature,nips,minatar,impala] [--threads 1,2]

Acting is the index of the largest answer for 1 or 8 observations of bytes; an update is a gradient of a squared error
for 32 or 256 of them and a step of Adam. JAX does both in a loop inside of one program, as polyak's engines do, on
other observations each time, so that nothing can be moved out of the loop. Each contestant is a process of its own that
answers one request at a time; they take turns, so that a slow minute of the machine slows all of them, and what is
printed is the median over the rounds. PyTorch takes part where it can be imported: `.venv-bench`, which `make bench`
makes, has it.

Beside the times stands the share of the machine's speed at matrix products (2048 cubed, float32, in XLA and with as
many threads) that the useful multiplications and additions take: three times the forward pass for an update, less the
gradient of the first layer's input, which nobody needs.
"""

import argparse
import importlib.util
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Task(NamedTuple):
    """One network on one kind of observation."""

    shape: tuple[int, ...]
    flops: float  # of a forward pass of one observation
    first: float  # of them, in the first layer
    batches: tuple[int, ...] = (1, 8, 32, 256)  # up to 8: acting; beyond: updates


def _convolutions(*layers: tuple[int, int, int, int]) -> list[float]:
    """2 x places x filters x (size x size x channels) for layers (places, filters, size, channels)."""
    return [2.0 * places * filters * size**2 * channels for places, filters, size, channels in layers]


def _flops(convolutions: list[float], *widths: int) -> tuple[float, float]:
    dense = [2.0 * inputs * outputs for inputs, outputs in itertools.pairwise(widths)]
    return sum(convolutions) + sum(dense), convolutions[0]


ACTIONS = 6
CALLS = 4  # of a network, each on other observations, between two looks at the clock
NIPS = _convolutions((400, 16, 8, 4), (81, 32, 4, 16))
NATURE = _convolutions((400, 32, 8, 4), (81, 64, 4, 32), (49, 64, 3, 64))
IMPALA = [
    flops
    for side, channels, filters in ((84, 4, 16), (42, 16, 32), (21, 32, 32))
    for flops in _convolutions((side**2, filters, 3, channels), *[(((side + 1) // 2) ** 2, filters, 3, filters)] * 4)
]
TASKS = {
    "nature": Task((4, 84, 84), *_flops(NATURE, 3136, 512, ACTIONS)),
    "nips": Task((4, 84, 84), *_flops(NIPS, 2592, 256, ACTIONS)),
    "minatar": Task((10, 10, 4), *_flops(_convolutions((64, 16, 3, 4)), 1024, 128, ACTIONS)),
    "impala": Task((4, 84, 84), *_flops(IMPALA, 3872, 256, ACTIONS), batches=(1, 8, 32)),
}


def observations(task: Task, batch: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (CALLS, batch, *task.shape), np.uint8)


def with_jax(name: str, as_convolution: bool) -> Callable[[int], Callable[[], Any]]:
    import jax
    import jax.numpy as jnp
    from gymnasium.spaces import Box

    from polyak.parts import networks
    from polyak.parts.networks import convolution
    from polyak.parts.optimise import adam

    if as_convolution:
        convolution.ON_CPU = convolution.as_convolution
    task = TASKS[name]
    space = Box(0, 255, task.shape, np.uint8)
    encode, rule = networks.encode(space), adam(10.0)
    module = networks.network_from_text(name).init(jax.random.key(0), space, ACTIONS)

    @jax.jit
    def act(module, obs, calls):
        def call(i, last):
            return jnp.argmax(module(encode(jax.lax.dynamic_index_in_dim(obs, i, keepdims=False))), -1) + 0 * last

        return jax.lax.fori_loop(0, calls, call, jnp.zeros(obs.shape[1], jnp.int32))

    @jax.jit
    def update(module, state, obs, action, target, calls):
        def call(i, carry):
            module, state = carry
            x = encode(jax.lax.dynamic_index_in_dim(obs, i, keepdims=False))

            def loss(module):
                return jnp.square(jnp.take_along_axis(module(x), action[:, None], 1)[:, 0] - target).mean()

            value, gradient = jax.value_and_grad(loss)(module)
            return rule.update(module, gradient, state, 1e-4, value)[:2]

        return jax.lax.fori_loop(0, calls, call, (module, state))

    def prepare(batch: int) -> Callable[[], Any]:
        obs = jnp.asarray(observations(task, batch))
        calls = jnp.int32(CALLS)  # an argument: a loop of known length might be unrolled
        if batch <= 8:
            return lambda: jax.block_until_ready(act(module, obs, calls))
        state, action, target = rule.init(module), jnp.zeros(batch, jnp.int32), jnp.ones(batch)
        return lambda: jax.block_until_ready(update(module, state, obs, action, target, calls))

    return prepare


def with_torch(name: str, threads: int) -> Callable[[int], Callable[[], Any]]:
    import torch
    from torch import nn

    torch.set_num_threads(threads)

    class Block(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.inner, self.outer = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

        def forward(self, x):
            return x + self.outer(torch.relu(self.inner(torch.relu(x))))

    task = TASKS[name]
    if name == "nature":
        kernel = [nn.Conv2d(4, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU(), nn.Conv2d(64, 64, 3)]
        sizes = (3136, 512)
    elif name == "nips":
        kernel = [nn.Conv2d(4, 16, 8, 4), nn.ReLU(), nn.Conv2d(16, 32, 4, 2)]
        sizes = (2592, 256)
    elif name == "minatar":
        kernel, sizes = [nn.Conv2d(4, 16, 3)], (1024, 128)
    else:
        kernel, sizes = [], (3872, 256)
        for channels, filters in ((4, 16), (16, 32), (32, 32)):
            pool = nn.MaxPool2d(3, 2, 1)
            kernel += [nn.Conv2d(channels, filters, 3, padding=1), pool, Block(filters), Block(filters)]
    layers = [*kernel, nn.ReLU(), nn.Flatten(), nn.Linear(*sizes), nn.ReLU(), nn.Linear(sizes[1], ACTIONS)]
    module = nn.Sequential(*layers)
    optimizer = torch.optim.Adam(module.parameters(), 1e-4)

    def encode(obs):
        x = obs.float() / 255
        return x.permute(0, 3, 1, 2) if name == "minatar" else x

    def prepare(batch: int) -> Callable[[], Any]:
        obs = torch.from_numpy(observations(task, batch))
        action, target = torch.zeros(batch, dtype=torch.int64), torch.ones(batch)

        def act():
            with torch.no_grad():
                for observed in obs:
                    module(encode(observed)).argmax(-1)

        def update():
            for observed in obs:
                chosen = module(encode(observed)).gather(1, action[:, None])[:, 0]
                loss = (chosen - target).square().mean()
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(module.parameters(), 10.0)
                optimizer.step()

        return act if batch <= 8 else update

    return prepare


def products(batch: int) -> Callable[[], Any]:
    """A matrix product, 2048 cubed: what the machine can do."""
    import jax
    import jax.numpy as jnp

    a = jnp.ones((2048, 2048))
    multiply = jax.jit(jnp.matmul)
    return lambda: [jax.block_until_ready(multiply(a, a)) for _ in range(CALLS)]


def serve(contestant: str, name: str, threads: int) -> None:
    """Reads a batch size a line, and answers with the seconds of one call: the median over a quarter of a second."""
    if contestant == "PyTorch":
        prepare = with_torch(name, threads)
    elif contestant == "products":
        prepare = products
    else:
        prepare = with_jax(name, contestant == "convolution")
    ready: dict[int, Callable[[], Any]] = {}
    for line in sys.stdin:
        batch = int(line)
        if batch not in ready:
            ready[batch] = prepare(batch)
            ready[batch]()
        took: list[float] = []
        began = time.perf_counter()
        while len(took) < 3 or time.perf_counter() - began < 0.25:
            before = time.perf_counter()
            ready[batch]()
            took.append((time.perf_counter() - before) / CALLS)
        print(statistics.median(took), flush=True)


def start(contestant: str, name: str, threads: int) -> subprocess.Popen:
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "NPROC": str(threads), "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, __file__, "--serve", contestant, "--only", name, "--threads", str(threads)]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ask(process: subprocess.Popen, batch: int) -> float:
    assert process.stdin and process.stdout
    process.stdin.write(f"{batch}\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        sys.exit(f"A contestant failed; its command was {process.args}.")
    return float(answer)


def compare(name: str, threads: int, rounds: int) -> dict[str, dict[int, float]]:
    """By contestant and batch, the seconds of a call: medians over the rounds."""
    contestants = ["polyak", "convolution", *["PyTorch"] * (importlib.util.find_spec("torch") is not None), "products"]
    running = {who: start(who, name, threads) for who in contestants}
    took: dict[str, dict[int, list[float]]] = {who: {} for who in contestants}
    for _ in range(rounds):
        for batch in TASKS[name].batches:
            for who, process in running.items():
                took[who].setdefault(batch, []).append(ask(process, batch))
    for process in running.values():
        process.communicate()
    return {who: {batch: statistics.median(times) for batch, times in each.items()} for who, each in took.items()}


def show(name: str, threads: int, took: dict[str, dict[int, float]]) -> None:
    task, speed = TASKS[name], 2 * 2048**3 / statistics.median(took.pop("products").values())
    print(f"\n{name}, {threads} thread{'s' * (threads > 1)}; matrix products {speed / 1e9:.0f} GFLOP/s")
    print(f"| ms (share of that speed) | {' | '.join(took)} |")
    print("|---" * (len(took) + 1) + "|")
    for batch in task.batches:
        flops = batch * (task.flops if batch <= 8 else 3 * task.flops - task.first)
        cells = [f"{each[batch] * 1e3:.2f} ({flops / each[batch] / speed:.0%})" for each in took.values()]
        print(f"| {'act' if batch <= 8 else 'update'}, {batch} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time of networks that read images.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default=",".join(TASKS))
    parser.add_argument("--threads", default=f"1,{os.cpu_count()}")
    parser.add_argument("--json", action="store_true", help="print seconds instead of tables")
    parser.add_argument("--serve", metavar="CONTESTANT", help="measure one in this process (used by the benchmark)")
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.only, int(options.threads))
        return
    for threads in map(int, options.threads.split(",")):
        for name in options.only.split(","):
            took = compare(name, threads, options.rounds)
            if options.json:
                print(json.dumps({"network": name, "threads": threads, "seconds": took}), flush=True)
            else:
                show(name, threads, took)


if __name__ == "__main__":
    main()
