"""Steps a second of the games, with 64 boards and random moves on one core, and the bytes of their states and pgx's.

    OMP_NUM_THREADS=1 taskset -c 0 python -m benchmarks.games           # prints the table
    OMP_NUM_THREADS=1 taskset -c 0 python -m benchmarks.games --write   # and puts it into docs/how-to/games.md

Seconds are those that the process computed for, so that what else runs on the machine counts little.
"""

import argparse
import statistics
import time

import jax
import numpy as np
import pgx

from benchmarks.tables import Place, put, table
from polyak.envs.base import CompiledEnv
from polyak.envs.games.from_pgx import GAMES, make
from polyak.envs.opponents import chosen
from polyak.spaces import mask_of

BOARDS, ROUNDS, SECONDS = 64, 5, 1.0
PLACE = Place("docs/how-to/games.md", "games")


def size(state) -> int:
    """Bytes of a state."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))


def steps_a_second(env: CompiledEnv) -> float:
    there = mask_of(env.observation_space)

    @jax.jit
    def play(boards, key, steps):
        def step(count, now):
            (state, obs), key = now
            key, noise_key, move_key = jax.random.split(key, 3)
            noise = env.noise(noise_key, (BOARDS,))
            move = jax.vmap(chosen)(obs[:, there] != 0, jax.random.uniform(move_key, (BOARDS,)))
            *after, _, over, _ = jax.vmap(env.step)(state, move, noise)
            fresh = jax.vmap(env.reset)(noise)
            again = jax.tree.map(
                lambda a, b: jax.numpy.where(over.reshape(-1, *[1] * (a.ndim - 1)), a, b), fresh, tuple(after)
            )
            return again, key

        return jax.lax.fori_loop(0, steps, step, (boards, key))

    boards = jax.jit(jax.vmap(env.reset))(env.noise(jax.random.key(0), (BOARDS,)))
    (boards, key), steps, measured = play(boards, jax.random.key(1), 200), 20, []  # boards of all stages, from here on
    jax.block_until_ready(boards)
    while len(measured) < ROUNDS:
        began = time.process_time()
        (boards, key) = play(boards, key, steps)
        jax.block_until_ready(boards)
        spent = time.process_time() - began
        if spent < SECONDS / 4:
            steps = int(steps * max(1.5, min(10.0, SECONDS / 2 / spent)))
        else:
            measured.append(BOARDS * steps / spent)
    return statistics.median(measured)


def rounded(value: float) -> str:
    """Two digits of it: `1,200,000`."""
    unit = 10 ** (int(np.log10(value)) - 1)
    return f"{round(value / unit) * unit:,}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("games", nargs="*", default=list(GAMES))
    options = parser.parse_args()
    rows = []
    for id in options.games:
        env = make(id)
        noise = env.noise(jax.random.key(0), ())
        theirs = jax.eval_shape(pgx.make(GAMES[id].pgx_id).init, jax.random.key(0))
        planes = "x".join(map(str, env.observation_space["observation"].shape))
        bytes = f"{size(jax.eval_shape(env.reset, noise)[0]):,}"
        row = [f"`{id}`", f"{env.action_space.n:,}", planes, bytes, f"{size(theirs):,}", rounded(steps_a_second(env))]
        print(*row, flush=True)
        rows.append(row)
    text = table(["id", "actions", "observation", "bytes a state", "in pgx", "steps a second"], rows)
    print(text)
    if options.write:
        put({PLACE: text})


if __name__ == "__main__":
    main()
