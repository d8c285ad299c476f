"""Speed of deep Q-learning from pixels: DQN on Pong with the Nature CNN, polyak against Stable-Baselines3.

    python benchmarks/atari.py [--rounds 3] [--steps 2000] [--threads 2] [--json FILE]

Both take one update of 32 for every 4 environment steps, from a memory of 100,000 that keeps each frame once, and
Adam; a step is four frames of the console. Stable-Baselines3 plays through its AtariWrapper, as its zoo has it, polyak
through EnvPool; with one environment, and with eight. Each measurement is a process of its own, which trains a little
from nothing and tells its steps per second once updates have begun and everything is compiled. The contestants take
turns; what is printed is the median over the rounds. All may use so many threads; how polyak's one thread of a worker
compares is told by `--threads 1`. It needs `pip install polyak[atari]` and what `requirements.txt` lists.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CONTESTANTS = [(library, num_envs) for num_envs in (1, 8) for library in ("polyak", "Stable-Baselines3")]
WARM_UP = 200  # steps
EVERY = 4  # environment steps an update
TIME_LIMIT = 600  # seconds that one measurement may take
SETTINGS: dict[str, Any] = {
    "learning_rate": 1e-4,
    "batch_size": 32,
    "buffer_size": 100_000,
    "target_update_interval": 1_000,
    "exploration_fraction": 0.1,
    "exploration_final_eps": 0.01,
}


def rounds_of(num_envs: int) -> dict[str, int]:
    """Every fourth step an update: steps of each environment between rounds of updates, and updates a round."""
    train_freq = max(EVERY // num_envs, 1)
    return {"train_freq": train_freq, "gradient_steps": train_freq * num_envs // EVERY}


def polyak_speed(num_envs: int, steps: int) -> float:
    import jax

    from polyak import DQN, envs
    from polyak.agent import Spec
    from polyak.engines import allocator
    from polyak.engines.host import HostEngine
    from polyak.parts.networks import NatureCNN

    # As in a worker, less the evaluation: of a policy that never serves, an episode takes 27,000 steps.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    allocator.keep_freed()
    env = envs.make("Pong-v5", num_envs)
    algorithm = DQN(**SETTINGS, **rounds_of(num_envs), network=NatureCNN(), frame_stack=4)
    spec = Spec(env.observation_space, env.action_space, num_envs, env.max_episode_steps, WARM_UP + steps)
    chunk = WARM_UP // 2 // (algorithm.block_length * num_envs)
    engine = HostEngine(algorithm, algorithm.agent(spec), env, spec, chunk)
    loop = engine.init(0)
    for learn in (False, True):
        loop, _ = engine.advance(loop, chunk, learn)
    made, began = 0, time.perf_counter()
    while made < steps:
        loop, _ = engine.advance(loop, chunk, True)
        made += chunk * engine.block_size
    took = time.perf_counter() - began
    engine.close()
    return made / took


def stable_baselines3_speed(num_envs: int, steps: int) -> float:
    import ale_py
    import gymnasium
    import torch
    from stable_baselines3 import DQN
    from stable_baselines3.common.env_util import make_atari_env
    from stable_baselines3.common.vec_env import VecFrameStack

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    gymnasium.register_envs(ale_py)
    env = VecFrameStack(make_atari_env("PongNoFrameskip-v4", num_envs, seed=0), 4)
    memory = {"optimize_memory_usage": True, "replay_buffer_kwargs": {"handle_timeout_termination": False}}
    how = {"learning_starts": WARM_UP // 2, "seed": 0, "device": "cpu"}
    model = DQN("CnnPolicy", env, **SETTINGS, **rounds_of(num_envs), **memory, **how)
    model.learn(WARM_UP)
    began = time.perf_counter()
    model.learn(steps, reset_num_timesteps=False)
    return (model.num_timesteps - WARM_UP) / (time.perf_counter() - began)


SPEED: dict[str, Callable[[int, int], float]] = {"polyak": polyak_speed, "Stable-Baselines3": stable_baselines3_speed}


def measure_apart(library: str, num_envs: int, options: argparse.Namespace) -> float:
    """The speed of one contestant, measured in a process of its own."""
    command = [sys.executable, __file__, "--measure", library, "--num-envs", str(num_envs)]
    threads = str(options.threads)
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "NPROC": threads, "OMP_NUM_THREADS": threads}
    run = subprocess.run(
        [*command, "--steps", str(options.steps)], capture_output=True, text=True, timeout=TIME_LIMIT, env=environment
    )
    if run.returncode:
        sys.exit(f"{library} failed:\n{run.stderr[-3000:]}")
    return float(run.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of DQN on Pong: polyak against Stable-Baselines3.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2_000, help="environment steps of a measurement")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path, help="where to write every measurement")
    parser.add_argument("--measure", choices=SPEED, help="measure one in this process (used by the benchmark)")
    parser.add_argument("--num-envs", type=int, default=1, help="for --measure")
    options = parser.parse_args()
    if options.measure:
        print(SPEED[options.measure](options.num_envs, options.steps))
        return
    speeds: dict[str, list[float]] = {}
    for number in range(options.rounds):
        for library, num_envs in CONTESTANTS:
            who = f"{library}, {num_envs} environment{'s' * (num_envs > 1)}"
            speeds.setdefault(who, []).append(measure_apart(library, num_envs, options))
            print(f"round {number + 1} of {options.rounds}: {who} {speeds[who][-1]:,.0f} steps/s", flush=True)
        if options.json:
            options.json.write_text(
                json.dumps({"threads": options.threads, "steps_per_second": speeds}, indent=2) + "\n"
            )
    print(f"\n| DQN on Pong, {options.threads} threads | steps/s |\n|---|---|")
    for who, each in speeds.items():
        print(f"| {who} | {statistics.median(each):,.0f} |")


if __name__ == "__main__":
    main()
