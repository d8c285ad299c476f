"""Speed of a population: environment steps a second of 1,024 policies on CartPole, beside evosax and beside Gymnasium.

    python -m benchmarks.populations [--rounds 5] [--members 1024] [--hidden 64 64]

Everyone plays generations of OpenAI's evolution strategy with the same perceptrons, 500 steps of each member:

- polyak: `openai-es` in the compiled engine, as `polyak.train` uses it;
- evosax: `Open_ES` and `GymnaxProblem`, one compiled program for asking, playing and telling;
- Gymnasium: one process that plays one member after the other, the network in NumPy; fewer steps, as it has one speed.

Each measurement is a process of its own, with the threads that XLA takes by itself; the contestants take turns, and the
medians of the rates and of the ratios within each round are told. evosax runs in `.venv-bench`, which `speed.py` makes,
or in the environment of another `--python`.
"""

import argparse
import itertools
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.tables import ROOT

LENGTH = 500  # steps of a session, CartPole's time limit
GENERATIONS = 4


def polyak_rate(members: int, hidden: list[int]) -> float:
    """Environment steps a second of the compiled engine."""
    import jax

    import polyak
    from polyak.agent import Spec
    from polyak.engines.compiled import CompiledEngine

    env: Any = polyak.make("CartPole-v1")
    algorithm = polyak.OpenAIES(session_length=LENGTH, network=polyak.MLP(hidden=tuple(hidden), activation="tanh"))
    spec = Spec(env.observation_space, env.action_space, members, LENGTH, 10**9)
    engine = CompiledEngine(algorithm, algorithm.agent(spec), env, spec, 1)
    loop = jax.block_until_ready(engine.advance(engine.init(0), 1, True)[0])
    start = time.perf_counter()
    for _ in range(GENERATIONS):  # whose noise is drawn for as many at once as fit into some megabytes
        loop, _ = engine.advance(loop, 1, True)
    jax.block_until_ready(loop)
    return GENERATIONS * engine.block_size / (time.perf_counter() - start)


def evosax_rate(members: int, hidden: list[int]) -> float:
    """The same of evosax, in one program too."""
    import jax
    import optax
    from evosax.algorithms import Open_ES
    from evosax.problems import GymnaxProblem
    from flax import linen as nn

    class Policy(nn.Module):
        @nn.compact
        def __call__(self, x: Any, key: Any) -> Any:
            for width in hidden:
                x = nn.tanh(nn.Dense(width)(x))
            return nn.Dense(2)(x).argmax(-1)

    problem = GymnaxProblem("CartPole-v1", Policy(), episode_length=LENGTH, use_normalize_obs=False)
    key = jax.random.key(0)
    solution = problem.sample(key)
    search = Open_ES(members, solution, optimizer=optax.adam(0.05))
    params = search.default_params

    def generation(carry: Any, key: Any) -> Any:
        state, world = carry
        ask, play, tell = jax.random.split(key, 3)
        population, state = search.ask(ask, state, params)
        fitness, world, _ = problem.eval(play, population, world)
        state, _ = search.tell(tell, population, -fitness, state, params)
        return (state, world.replace(counter=0)), fitness.mean()

    run = jax.jit(lambda carry, keys: jax.lax.scan(generation, carry, keys))
    first = search.init(key, solution, params), problem.init(key)
    keys = jax.random.split(key, GENERATIONS)
    jax.block_until_ready(run(first, keys))
    start = time.perf_counter()
    jax.block_until_ready(run(first, keys))
    return GENERATIONS * members * LENGTH / (time.perf_counter() - start)


def gymnasium_rate(members: int, hidden: list[int]) -> float:
    """Environment steps a second of one process that plays one member after the other."""
    import gymnasium
    import numpy as np

    random = np.random.default_rng(0)
    sizes = [4, *hidden, 2]
    env = gymnasium.make("CartPole-v1")
    steps, start = 0, time.perf_counter()
    for member in range(members):
        layers = [random.normal(0, i**-0.5, (o, i)) for i, o in itertools.pairwise(sizes)]
        obs, over = env.reset(seed=member)[0], False
        while not over:
            x = obs
            for weight in layers[:-1]:
                x = np.tanh(weight @ x)
            obs, _, terminated, truncated, _ = env.step(int(np.argmax(layers[-1] @ x)))
            over, steps = terminated or truncated, steps + 1
    return steps / (time.perf_counter() - start)


CONTESTANTS: dict[str, Callable[[int, list[int]], float]] = {
    "polyak": polyak_rate,
    "evosax": evosax_rate,
    "Gymnasium": gymnasium_rate,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each contestant")
    parser.add_argument("--members", type=int, default=1_024, help="policies")
    parser.add_argument("--hidden", type=int, nargs="*", default=[64, 64], help="units of each hidden layer")
    parser.add_argument("--python", default=ROOT / ".venv-bench" / "bin" / "python", help="one that has evosax")
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant:
        print(json.dumps(CONTESTANTS[arguments.contestant](arguments.members, arguments.hidden)))
        return
    if not shutil.which(arguments.python):
        parser.error(
            f"there is no {arguments.python}: `make bench` makes it, or name a Python that has evosax by --python"
        )
    rates: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    for _ in range(arguments.rounds):
        for name, found in rates.items():
            python = arguments.python if name == "evosax" else sys.executable
            numbers = ["--members", str(arguments.members), "--hidden", *map(str, arguments.hidden)]
            command = [python, "-m", "benchmarks.populations", "--contestant", name, *numbers]
            found.append(json.loads(subprocess.check_output(command, cwd=ROOT, text=True).splitlines()[-1]))
    for name, found in rates.items():
        ratio = statistics.median(ours / theirs for ours, theirs in zip(rates["polyak"], found, strict=True))
        print(f"{name:10} {statistics.median(found):12,.0f} steps/s   polyak is {ratio:.2f} times as fast")


if __name__ == "__main__":
    main()
