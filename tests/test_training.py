"""`train` from the outside: what a run holds, that seeds are honest, and how it ends when something goes wrong."""

import dataclasses
import inspect
import os
import signal
import subprocess
import sys
import threading
import time

import gymnasium
import jax
import numpy as np
import pytest

import polyak
from polyak.presets import preset
from polyak.runs import files
from polyak.runs.events import CheckpointSaved, Chunk, Closing, Finished, Playing
from polyak.training import ARGUMENTS
from polyak.worker import train_seeds
from tests.jobs import job
from tests.speeds import slow

QUICK = polyak.PPO(n_steps=16, batch_size=64, n_epochs=2, network=polyak.MLP((16,)))


def quick(tmp_path, algorithm=QUICK, env="CartPole-v1", **how):
    how = {"steps": 1024, "num_envs": 4, "out": tmp_path, "progress": False, "processes": 0, "final_episodes": 20} | how
    return polyak.train(algorithm, env, **how)


def policy_bytes(run, seed):
    return (run.path / f"policy-{seed}.safetensors").read_bytes()


def test_a_run_folder_holds_what_a_person_asks_for(tmp_path):
    run = quick(tmp_path, seeds=2, eval_every=512, eval_episodes=3)
    assert {"run.json", "metrics.sqlite", "policy-0.safetensors", "policy-1.safetensors"} == set(os.listdir(run.path))
    about = run.about
    assert about["settings"]["n_steps"] == 16 and about["settings"]["network"] == "mlp:16:relu"
    assert about["env"] == "CartPole-v1" and about["seeds"] == [0, 1] and about["status"] == "finished"
    assert about["device"] and about["versions"]["jax"]
    assert run.scores.returns.shape == (2, 20)
    assert run.steps_per_second > 0
    steps, values = run.metrics("loss")
    assert values.shape == (2, len(steps)) and steps[-1] == 1024 and np.isfinite(values).all()
    steps, values = run.metrics("evaluation_return")
    assert steps.tolist() == [512] and (values > 0).all()
    assert run.plot().path.stat().st_size > 10_000
    assert polyak.Run(run.path).summary() == run.summary()


def test_a_run_in_which_no_episode_ended_has_no_curve_and_says_so(tmp_path, capfd):
    algorithm = polyak.A2C(n_steps=5, network=polyak.MLP((4,)))
    run = polyak.train(algorithm, "Pendulum-v1", steps=20, num_envs=1, processes=0, final_episodes=1, out=tmp_path)
    assert run.about["status"] == "finished" and not (run.path / "curve.png").exists()
    assert "no episode ended" in capfd.readouterr().err


def test_steps_are_exact_to_one_block(tmp_path):
    run = quick(tmp_path, steps=1000)
    assert run.metrics("loss")[0][-1] == 1024  # 16 blocks of 64


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path):
    first, second = quick(tmp_path), quick(tmp_path)
    assert policy_bytes(first, 0) == policy_bytes(second, 0) != policy_bytes(quick(tmp_path, seed=1), 1)


@pytest.mark.slow
def test_a_seed_among_others_is_the_seed_alone(tmp_path):
    """Three seeds in two worker processes; seed 2 must be what it is alone."""
    env = "gymnasium:CartPole-v1"
    together = quick(tmp_path, QUICK, env, seeds=3, processes=2)
    alone = quick(tmp_path, QUICK, env, seed=2, processes=1)
    assert policy_bytes(together, 2) == policy_bytes(alone, 2)


def test_a_seed_that_shared_a_program_with_others_is_the_seed_alone(tmp_path):
    """Tables train several seeds under `vmap`, here 0 and 2 in one worker."""
    learner = polyak.QLearning(learning_rate=0.5, initial_value=1.0)
    together = quick(tmp_path, learner, "FrozenLake-v1", seeds=3, processes=2)
    for seed in (1, 2):
        alone = quick(tmp_path, learner, "FrozenLake-v1", seed=seed)
        assert policy_bytes(together, seed) == policy_bytes(alone, seed)


def test_seeds_that_were_stopped_together_go_on_in_other_company(tmp_path):
    learner = polyak.QLearning(learning_rate=0.5, initial_value=1.0)
    (tmp_path / "stopped").mkdir()
    (tmp_path / "whole").mkdir()
    four = job(learner, "FrozenLake-v1", tmp_path / "stopped", (0, 1, 2, 3), steps=4_000)
    events = []
    train_seeds(four, events.append, lambda: sum(isinstance(event, Chunk) for event in events) > 40)
    assert not any(isinstance(event, Finished) for event in events)
    for seeds in ((0, 3), (1,), (2,)):
        train_seeds(dataclasses.replace(four, seeds=seeds), lambda event: None, lambda: False)
    train_seeds(dataclasses.replace(four, folder=tmp_path / "whole"), lambda event: None, lambda: False)
    for seed in four.seeds:
        resumed, whole = (tmp_path / name / f"policy-{seed}.safetensors" for name in ("stopped", "whole"))
        assert resumed.read_bytes() == whole.read_bytes()


def test_an_mdp_is_trained_on_and_evaluated_like_any_environment(tmp_path):
    mdp = polyak.MDP.from_grid("S.G", step=-1.0, goal=-1.0, id="corridor", max_episode_steps=50)
    run = quick(tmp_path, polyak.SARSA(learning_rate=0.5), mdp, num_envs=1)
    assert run.about["env"] == "corridor" and run.about["engine"] == "compiled"
    assert (run.scores.returns == -2).all()


def test_a_lambda_reaches_the_worker_processes(tmp_path):
    run = quick(tmp_path, env=lambda: gymnasium.make("CartPole-v1", max_episode_steps=20), seeds=2, processes=2)
    assert run.scores.returns.max() <= 20


def test_a_preset_is_used_for_a_name_and_defaults_for_the_rest(tmp_path):
    how = {"steps": 256, "out": tmp_path, "progress": False, "processes": 0}
    run = polyak.train("q-learning", "FrozenLake-v1", **how)
    tuned, default = preset("q-learning", "FrozenLake-v1"), str(polyak.QLearning().learning_rate)
    assert run.about["preset"] and run.about["num_envs"] == tuned.num_envs
    assert run.about["settings"]["learning_rate"] == tuned.settings["learning_rate"] != default
    run = polyak.train("q-learning", "FrozenLake8x8-v1", **how | {"num_envs": 2})
    assert run.about["preset"] and run.about["num_envs"] == 2
    run = polyak.train("sarsa", "FrozenLake-v1", **how)
    assert not run.about["preset"] and str(run.about["settings"]["learning_rate"]) == str(polyak.SARSA().learning_rate)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": 0}, "steps=0 is not"),
        ({"seeds": 0}, "seeds=0 is not"),
        ({"seed": -1}, "seed=-1 is not"),
        ({"num_envs": 0}, "num_envs=0 is not"),
        ({"env": "CartPol-v1"}, "CartPole-v1"),
        ({"algorithm": "dqn", "env": "Pendulum-v1"}, "discrete actions"),
        ({"algorithm": "pppo"}, "did you mean ppo"),
        ({"algorithm": "ppo", "env": "probe/two-steps", "steps": None}, "no preset"),
        ({"algorithm": dataclasses.replace(QUICK, gamma=1.5)}, "gamma is 1.5"),
        ({"algorithm": dataclasses.replace(QUICK, batch_size=60)}, "64 does"),
    ],
)
def test_a_mistake_is_named_before_anything_is_written(change, words, tmp_path):
    with pytest.raises(polyak.Error, match=words):
        quick(tmp_path, **change)
    assert os.listdir(tmp_path) == []


class Breaks(gymnasium.Env):
    """Works for a hundred steps and then does what it is told to."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    answer = "raise"

    def __init__(self):
        self.clock = 0

    def reset(self, seed=None, options=None):
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.clock += 1
        if self.clock > 100:
            if self.answer == "raise":
                raise ValueError("the motor is too hot")
            if self.answer == "exit":
                os._exit(3)
            return np.zeros(2, np.float32), None, False, False, {}
        return np.zeros(2, np.float32), 0.0, self.clock % 10 == 0, False, {}


@pytest.mark.parametrize("processes", [0, slow(2)])
@pytest.mark.parametrize(("answer", "words"), [("raise", "the motor is too hot"), ("none", "reward=None")])
def test_a_fault_of_the_environment_reaches_the_user_from_any_process(answer, words, processes, tmp_path):
    kind = type("Breaks", (Breaks,), {"answer": answer})
    with pytest.raises(polyak.Error, match=words) as caught:
        quick(tmp_path, env=kind, processes=processes, seeds=2)
    assert "Breaks, environment" in str(caught.value) and "\n" not in str(caught.value)


def test_a_worker_that_dies_ends_the_run_with_a_sentence(tmp_path):
    kind = type("Breaks", (Breaks,), {"answer": "exit"})
    words = r"^Breaks, environment 0 of 4, step 1 of the episode with seed \d+, action [01]: its process .* status 3"
    with pytest.raises(polyak.Error, match=words):
        quick(tmp_path, env=kind, processes=1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": 1e4}, "steps=10000.0 is not a whole number"),
        ({"steps": True}, "steps=True is not a whole number"),
        ({"steps": 3_000_000_000}, "steps=3000000000 is not a whole number from 1 to 2147483647"),
        ({"steps": 2**31 - 1}, "in whole blocks of 64, are more than the 2,147,483,647 that a seed can count"),
        ({"seed": "0"}, "seed='0' is not a whole number"),
        ({"seed": 2**32 - 1, "seeds": 2}, r"beyond 2\^32 - 1"),
        ({"seeds": 2.0}, "seeds=2.0 is not a whole number"),
        ({"num_envs": "4"}, "num_envs='4' is not a whole number"),
        ({"num_envs": 2**21}, "num_envs=2097152 is not a whole number from 1 to 1048576"),
        ({"eval_every": 1.5}, "eval_every=1.5 is not a whole number"),
        ({"eval_episodes": None}, "eval_episodes=None is not a whole number"),
        ({"final_episodes": 0}, "final_episodes=0 is not a whole number"),
        ({"checkpoint_every": "often"}, "checkpoint_every='often' is not a whole number"),
        ({"keep_checkpoints": 0}, "keep_checkpoints=0 is not a whole number"),
        ({"out": 7}, "out=7 is not a path"),
        ({"progress": "yes"}, "progress='yes' is not true or false"),
        ({"processes": -1}, "processes=-1 is not a whole number"),
        ({"workers": -1}, "workers=-1 is not a whole number"),
        ({"step_timeout": "long"}, "step_timeout='long' is not a number from"),
        ({"step_timeout": -1.0}, "step_timeout=-1.0 is not a number from"),
        ({"on_fault": "ignore"}, "on_fault='ignore' is not 'stop' or 'restart'"),
        ({"callbacks": polyak.TimeLimit(3)}, "callbacks is TimeLimit.*; it must be a list"),
        ({"algorithm": polyak.PPO}, "algorithm=<class .*PPO'> is not an algorithm"),
        ({"algorithm": 7}, "algorithm=7 is not an algorithm"),
    ],
    ids=str,
)
def test_an_argument_of_the_wrong_type_or_size_is_named_before_anything_is_written(change, words, tmp_path):
    with pytest.raises(polyak.Error, match=words) as caught:
        quick(tmp_path, **change)
    assert os.listdir(tmp_path) == [] and "\n" not in str(caught.value)


def test_every_argument_of_train_and_resume_is_checked():
    for function in (polyak.train, polyak.resume):
        assert inspect.signature(function).parameters.keys() <= ARGUMENTS.keys()


def test_large_seeds_can_share_a_program_and_are_the_seeds_alone(tmp_path):
    learner = polyak.QLearning(learning_rate=0.5, initial_value=1.0)
    together = quick(tmp_path, learner, "FrozenLake-v1", seed=2**32 - 2, seeds=2, num_envs=1)
    alone = quick(tmp_path, learner, "FrozenLake-v1", seed=2**32 - 1, num_envs=1)
    assert policy_bytes(together, 2**32 - 1) == policy_bytes(alone, 2**32 - 1)


def test_policies_of_a_training_share_what_is_compiled(tmp_path, caplog):
    with jax.log_compiles():
        quick(tmp_path, seeds=2, env="gymnasium:CartPole-v1", eval_every=256, eval_episodes=20)
    assert sum("Compiling jit(step)" in record.getMessage() for record in caplog.records) == 1


def test_a_seed_has_finished_only_when_its_last_checkpoint_is_written(tmp_path, monkeypatch):
    """Who hears of it removes the checkpoints."""
    write, begun = files.write_durably, threading.Event()

    def slow(path, parts):
        begun.set()
        time.sleep(0.2)
        write(path, parts)

    monkeypatch.setattr("polyak.runs.checkpoint.write_durably", slow)
    monkeypatch.setattr("polyak.worker.CHECKPOINT_SECONDS", 0.0)
    events = []
    learner = polyak.QLearning(learning_rate=0.5, initial_value=1.0)
    train_seeds(job(learner, "FrozenLake-v1", tmp_path, steps=200), events.append, lambda: False)
    kinds = [type(event) for event in events]
    assert begun.is_set() and CheckpointSaved in kinds
    assert kinds.index(Finished) == len(kinds) - 2 and kinds[-1] == Closing


def test_a_run_is_scored_in_as_many_episodes_as_are_asked_for_also_after_a_stop(tmp_path):
    class Fails:
        def on_chunk(self, run, seed, step, metrics):
            raise ValueError("enough")

    learner = polyak.QLearning(learning_rate=0.5, initial_value=1.0)
    with pytest.raises(polyak.Error, match="enough"):
        quick(tmp_path, learner, "FrozenLake-v1", num_envs=1, final_episodes=7, callbacks=[Fails()])
    (path,) = tmp_path.iterdir()
    assert polyak.resume(path, processes=0, progress=False).scores.returns.shape == (1, 7)


def test_the_final_score_is_of_other_episodes_than_evaluations_while_training(tmp_path):
    class Keeps:
        def on_evaluation(self, run, seed, step, returns):
            self.returns = returns
            return polyak.Stop("the policy that is scored")

    keeps, learner = Keeps(), polyak.QLearning(learning_rate=0.5, initial_value=1.0)
    how = {"num_envs": 1, "steps": 4000, "eval_every": 2000, "eval_episodes": 100, "final_episodes": 100}
    run = quick(tmp_path, learner, "FrozenLake-v1", callbacks=[keeps], **how)
    assert run.stopped_early[0]["step"] == 2000 and sum(keeps.returns) > 0
    assert run.scores.returns[0].tolist() != keeps.returns


class Slow(gymnasium.Env):
    """A step takes its time."""

    observation_space, action_space = gymnasium.spaces.Discrete(2), gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return 0, {}

    def step(self, action):
        time.sleep(0.02)
        return 0, 0.0, True, False, {}


def test_a_long_evaluation_tells_how_far_it_is_at_most_once_a_second(tmp_path):
    events, began = [], time.monotonic()
    asked = dataclasses.replace(job(polyak.QLearning(), "Slow", tmp_path, steps=2, final_episodes=70), env=Slow)
    train_seeds(asked, events.append, lambda: False)
    playing = [event for event in events if isinstance(event, Playing)]
    assert 1 <= len(playing) <= time.monotonic() - began
    assert all(event.seed == 0 and 0 < event.finished < event.episodes == 70 for event in playing)


def test_an_environment_object_is_refused_because_many_are_needed(tmp_path):
    with pytest.raises(polyak.Error, match="function"):
        quick(tmp_path, env=gymnasium.make("CartPole-v1"))


INTERRUPTED = """
import polyak, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are born deaf to it
run = polyak.train(polyak.{learner}, "FrozenLake-v1", steps={steps}, out=sys.argv[1], processes=1)
print("STATUS", run.about["status"], run.path)
"""


def interrupt(tmp_path, learner: str, steps: int):
    code = INTERRUPTED.format(learner=learner, steps=steps)
    command, pipe = [sys.executable, "-c", code, str(tmp_path)], subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if " of " in line and "steps" in line and process.poll() is None:
                process.send_signal(signal.SIGINT)
                break
        lines.extend(process.stderr)
        output = process.stdout.read()
    assert "STATUS stopped" in output, "".join(lines)
    return polyak.Run(output.split()[-1]), "".join(lines)


@pytest.mark.slow
def test_after_ctrl_c_a_run_goes_on_as_if_nothing_had_happened(tmp_path):
    steps, learner = 1_000_000, polyak.SARSA(initial_value=1.0)
    run, said = interrupt(tmp_path, "SARSA(initial_value=1.0)", steps)
    assert f"polyak resume {run.path}" in said
    run.policy()  # what was learned can be used
    reached = int(run.metrics("td_error")[0][-1])
    assert 0 < reached < steps

    resumed = polyak.resume(run.path, progress=False)
    assert resumed.about["status"] == "finished"
    whole = polyak.train(learner, "FrozenLake-v1", steps=steps, out=tmp_path, progress=False)
    assert policy_bytes(resumed, 0) == policy_bytes(whole, 0)


@pytest.mark.parametrize(
    ("algorithm", "env", "command"),
    [
        ("q-learning", "FrozenLake-v1", "watch"),
        ("q-learning", "random-walk/19", "evaluate"),  # nobody can draw it
        ("afterstate-td", "tic-tac-toe/random", "play tic-tac-toe --run"),
        (polyak.MCTS(num_simulations=2), "CartPole-v1", "evaluate"),  # it plans in the compiled one, which has no look
    ],
)
def test_the_next_command_is_one_that_works(algorithm, env, command, tmp_path, capfd):
    polyak.train(algorithm, env, steps=500, final_episodes=1, out=tmp_path, processes=0, progress=True)
    (run,) = tmp_path.iterdir()
    assert capfd.readouterr().err.strip().endswith(f"Next: polyak {command} {run}")
