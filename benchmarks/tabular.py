"""Speed with tables: Q-learning beside a plain Python loop over Gymnasium, and planning in a large sparse process.

python -m benchmarks.tabular [--rounds 5]

Every round measures all of them in turn; the medians, and the medians of the ratios, go into the documentation.
"""

import argparse
import json
import statistics
import textwrap
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

import polyak
from benchmarks.tables import Place, put
from polyak.agent import Spec
from polyak.engines.compiled import CompiledEngine

ID, STEPS, SEEDS = "FrozenLake8x8-v1", 200_000, 64


def plain_loop(steps: int) -> float:
    """Steps per second of Q-learning as one writes it in an afternoon."""
    env = gymnasium.make(ID)
    q = np.zeros((env.observation_space.n, env.action_space.n))
    rng = np.random.default_rng(0)
    obs, _ = env.reset(seed=0)
    began = time.perf_counter()
    for _ in range(steps):
        if rng.random() < 0.1:
            action = rng.integers(4)
        else:
            best = np.flatnonzero(q[obs] == q[obs].max())
            action = best[0] if len(best) == 1 else rng.choice(best)
        next_obs, reward, terminated, truncated, _ = env.step(action)
        q[obs, action] += 0.1 * (reward + 0.99 * (not terminated) * q[next_obs].max() - q[obs, action])
        obs = env.reset()[0] if terminated or truncated else next_obs
    return steps / (time.perf_counter() - began)


def compiled(seeds: int) -> float:
    """Steps per second of all seeds together, compilation left out."""
    env = polyak.MDP.from_gymnasium(ID).compiled()
    spec = Spec(env.observation_space, env.action_space, 1, env.max_episode_steps, STEPS)
    algorithm = polyak.QLearning(learning_rate=0.1, exploration=polyak.EpsilonGreedy(0.1))
    engine = CompiledEngine(algorithm, algorithm.agent(spec), env, spec, 10_000, batched=seeds > 1)
    loop = engine.init(jnp.arange(seeds) if seeds > 1 else 0)
    loop, _ = engine.advance(loop, engine.chunk, True)
    chunks = STEPS // engine.chunk
    began = time.perf_counter()
    for _ in range(chunks):
        loop, _ = engine.advance(loop, engine.chunk, True)
    return chunks * engine.chunk * seeds / (time.perf_counter() - began)


def sparse_mdp(states: int = 100_000, actions: int = 4, outcomes: int = 5) -> polyak.MDP:
    """Every action leads to a few random states."""
    rng = np.random.default_rng(0)
    shape = (states, actions, outcomes)
    return polyak.MDP(
        rng.dirichlet(np.ones(outcomes), shape[:2]),
        rng.integers(0, states, shape, dtype=np.int32),
        rng.normal(size=shape),
        np.zeros(states, bool),
        np.full(states, 1 / states),
    )


def seconds(plan, mdp: polyak.MDP) -> float:
    began = time.perf_counter()
    found = plan(mdp, gamma=0.99, tolerance=1e-6)
    assert found.error_bound <= 1e-6 * (1 + 1e-9)
    return time.perf_counter() - began


LOOP, ONE, MANY = "a plain Python loop over Gymnasium", "polyak, one seed", f"polyak, {SEEDS} seeds in one program"
PLANNERS = {"value iteration": polyak.value_iteration, "modified policy iteration": polyak.modified_policy_iteration}


RESULTS = Path(__file__).with_suffix(".json")


def tables(path: Path = RESULTS) -> dict[Place, str]:
    """What was measured, in words."""
    results = json.loads(path.read_text())
    medians, ratios, rounds = results["medians"], results["ratios"], len(results["rounds"])
    learning = ", ".join(f"{name} {medians[name]:,.0f} ({ratios[name]:.0f} x)" for name in (ONE, MANY))
    planning = " and ".join(f"{name} {medians[name]:.1f} s" for name in PLANNERS)
    text = (
        f"With tables (`python -m benchmarks.tabular`, medians of {rounds} interleaved rounds), steps of Q-learning on "
        f"{ID} per second: {LOOP} {medians[LOOP]:,.0f}, {learning}. In a random process of 100,000 states, 4 actions "
        f"and 5 outcomes each, gamma 0.99, to within 1e-6: {planning}."
    )
    short = (
        f"With a table, Q-learning takes {medians[MANY]:,.0f} steps a second in {SEEDS} seeds of one program, "
        f"{ratios[MANY]:.0f} times as many as a plain Python loop (`python -m benchmarks.tabular`)."
    )
    places = {Place("docs/benchmarks/speed.md", "tables"): text, Place("README.md", "tables"): short}
    return {place: textwrap.fill(words, 120) for place, words in places.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=RESULTS)
    options = parser.parse_args()
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    mdp = sparse_mdp()
    mdp.transition  # noqa: B018  built once, and not what is measured
    measures: dict[str, Callable[[], float]] = {
        LOOP: lambda: plain_loop(STEPS // 4),
        ONE: lambda: compiled(1),
        MANY: lambda: compiled(SEEDS),
        **{name: partial(seconds, plan, mdp) for name, plan in PLANNERS.items()},
    }
    rounds = []
    for _ in range(options.rounds):
        rounds.append({name: measure() for name, measure in measures.items()})
        print({name: round(value, 2) for name, value in rounds[-1].items()}, flush=True)
    medians = {name: statistics.median(found[name] for found in rounds) for name in measures}
    ratios = {name: statistics.median(found[name] / found[LOOP] for found in rounds) for name in (ONE, MANY)}
    options.json.write_text(json.dumps({"rounds": rounds, "medians": medians, "ratios": ratios}, indent=2) + "\n")
    put(tables(options.json))


if __name__ == "__main__":
    main()
