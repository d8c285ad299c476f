"""Time of a gradient step of the off-policy actor-critics, and the share of the machine's speed that it reaches.

    python -m benchmarks.actor_critic [--rounds 5] [--only sac,td3]

Networks have two layers of 256 units, a batch 256 transitions with 11 observed numbers and 3 actions, as in Hopper.
An update is what `Agent.learn` does, the draw from the replay memory included, many times in one compiled loop. Beside
its time stands the share of the speed at matrix products (1,024 cubed, float32, measured by turns with it) that its
useful multiplications and additions take. They are counted here: 2 for each weight and row of a forward pass, as many
for the gradient of its inputs and again for that of its weights; activations, Adam and averages count for nothing.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("NPROC", "1")  # one thread, as polyak's workers have

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from polyak import settings
from polyak.agent import Spec, Step

OBSERVED, ACTIONS, WIDTH, BATCH = 11, 3, 256, 256
UPDATES = 50  # in a call
SIDE, PRODUCTS = 1_024, 5  # of the matrices, and how many of them in a call


def passes(inputs: int, outputs: int, rows: int = BATCH) -> tuple[float, float, float]:
    """Floating-point operations of a network's forward pass, of the gradient of what comes after its first layer, and
    of that of its weights."""
    first, rest = inputs * WIDTH, WIDTH * WIDTH + WIDTH * outputs
    return 2.0 * rows * (first + rest), 2.0 * rows * rest, 2.0 * rows * (first + rest)


def operations(
    actor_outputs: int, critics: int, targets: int, climbed: int, quantiles: int = 1, delay: int = 1
) -> float:
    """Of an update.

    Args:
        actor_outputs: numbers that the policy's network answers.
        critics: those that are fitted.
        targets: those that a target is computed from.
        climbed: those that the policy climbs.
        quantiles: that a critic answers.
        delay: gradient steps for each of the policy.
    """
    act, act_inner, act_weights = passes(OBSERVED, actor_outputs)
    q, q_inner, q_weights = passes(OBSERVED + ACTIONS, quantiles)
    to_the_action = q_inner + 2.0 * BATCH * WIDTH * ACTIONS
    policy = act + act_inner + act_weights + climbed * (q + to_the_action)
    return act + targets * q + critics * (q + q_inner + q_weights) + policy / delay


# CrossQ's targets are made of the critics' own pass over both batches, whose gradient goes through both.
COUNTED: dict[str, float] = {
    "ddpg": operations(ACTIONS, 1, 1, 1),
    "td3": operations(ACTIONS, 2, 2, 1, delay=2),
    "sac": operations(2 * ACTIONS, 2, 2, 2),
    "tqc": operations(2 * ACTIONS, 2, 2, 2, quantiles=25),
    "redq": operations(2 * ACTIONS, 10, 2, 10, delay=20),
    "droq": operations(2 * ACTIONS, 2, 2, 2, delay=20),
    "crossq": operations(2 * ACTIONS, 4, 0, 2, delay=3),
}


def updates(name: str) -> Callable[[], None]:
    """A function that makes `UPDATES` of them, compiled."""
    observed = gymnasium.spaces.Box(-np.inf, np.inf, (OBSERVED,), np.float32)
    acted = gymnasium.spaces.Box(-1.0, 1.0, (ACTIONS,), np.float32)
    spec = Spec(observed, acted, 1, 1_000, 1_000_000)
    sizes: dict[str, Any] = {"train_freq": 4_096, "gradient_steps": UPDATES, "buffer_size": 4_096}
    agent = settings.build(name, sizes).agent(spec)
    keys = jax.random.split(jax.random.key(0), 5)
    x, x_next = (jax.random.normal(key, (4_096, 1, OBSERVED)) for key in keys[:2])
    action = jax.random.uniform(keys[2], (4_096, 1, ACTIONS), minval=-1.0)
    reward = jax.random.normal(keys[3], (4_096, 1))
    never = jnp.zeros((4_096, 1), bool)
    block = Step(x, action, reward, never, never, x_next, ())
    state = jax.jit(lambda: agent.observe(agent.init(keys[4]), block))()
    learn = jax.jit(lambda state, key: agent.learn(state, block, key)[0], donate_argnums=0)
    key = jax.random.key(1)

    def run() -> None:
        nonlocal state
        state = jax.block_until_ready(learn(state, key))

    return run


def products() -> Callable[[], Any]:
    """A function that multiplies matrices, compiled."""
    a, b = (jax.random.normal(key, (SIDE, SIDE)) / SIDE**0.5 for key in jax.random.split(jax.random.key(0)))
    multiply = jax.jit(lambda a, b: jax.lax.fori_loop(0, PRODUCTS, lambda i, a: a @ b, a))
    return lambda: jax.block_until_ready(multiply(a, b))


def seconds(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default=",".join(COUNTED), help="algorithms, by name")
    options = parser.parse_args()
    multiply = products()
    for name in options.only.split(","):
        run = updates(name)
        run(), multiply()
        rounds = [(seconds(run) / UPDATES, seconds(multiply)) for _ in range(options.rounds)]
        took = statistics.median(update for update, _ in rounds)
        speed = [2.0 * SIDE**3 * PRODUCTS / product for _, product in rounds]
        share = statistics.median(
            COUNTED[name] / update / rate for (update, _), rate in zip(rounds, speed, strict=True)
        )
        counted, rate = COUNTED[name] / 1e6, statistics.median(speed) / 1e9
        print(f"{name:7} {1e3 * took:6.2f} ms, {counted:7,.0f} million operations: {share:.0%} of {rate:.0f} GFLOP/s")


if __name__ == "__main__":
    main()
