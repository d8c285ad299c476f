"""RLlib beside our cluster engine, run by `benchmarks.cluster peer` in an environment that has it; it needs no polyak.

python benchmarks/rllib_peer.py impala|ppo NUM_RUNNERS ENVS_EACH WARM_SECONDS MEASURED_SECONDS

Prints {"rate": steps a second, "per_cpu_second": steps a CPU-second of all processes} between two moments of learning.
"""

import json
import sys
import time

import psutil


def cpu_seconds() -> float:
    """CPU-seconds so far of this process and all that it has started."""
    total = 0.0
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


def config(kind: str, runners: int, envs: int):
    """The algorithm as RLlib's own CartPole examples set it up, with the network that both sides have."""
    from ray.rllib.algorithms.impala import IMPALAConfig
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

    made = (IMPALAConfig if kind == "impala" else PPOConfig)()
    made = made.environment("CartPole-v1").learners(num_learners=1, num_gpus_per_learner=0)
    made = made.env_runners(num_env_runners=runners, num_envs_per_env_runner=envs)
    made = made.rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[256, 256], vf_share_layers=False))
    if kind == "impala":
        return made.env_runners(rollout_fragment_length=50).training(train_batch_size_per_learner=1_600)
    return made.training(train_batch_size_per_learner=4_096, minibatch_size=128, num_epochs=6)


def main() -> None:
    kind, runners, envs, warm, measured = sys.argv[1], *map(float, sys.argv[2:6])
    import ray

    ray.init("local", num_cpus=int(runners) + 2, num_gpus=0, include_dashboard=False, log_to_driver=False)
    algorithm = config(kind, int(runners), int(envs)).build_algo()
    begun, marks = time.monotonic(), []
    while len(marks) < 2:
        found, now = algorithm.train(), time.monotonic()
        steps = found.get("env_runners", {}).get("num_env_steps_sampled_lifetime", 0)
        if steps and now - begun > warm and (not marks or now - marks[0][0] > measured):
            marks.append((now, steps, cpu_seconds()))
    (first, before, cpu), (last, after, cpu_then) = marks
    print(
        json.dumps({"rate": (after - before) / (last - first), "per_cpu_second": (after - before) / (cpu_then - cpu)})
    )


if __name__ == "__main__":
    main()
