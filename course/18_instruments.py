# %% [markdown]
# # 18. Instruments
#
# You will write the statistics that make a comparison honest, build a world of your own, stop a run when it is good
# enough, and kill one in the middle to see that nothing is lost.
# %%
import gymnasium
import numpy as np
from matplotlib.figure import Figure

import polyak
from polyak.course import check


# %% [markdown]
# ## One number for ten seeds
#
# Reinforcement learning depends on luck. The same code with another seed can give half the score, or twice. So train
# several seeds and report one number for all. The mean is moved by one bad seed, and the median forgets nearly
# everything. In between lies the **interquartile mean**, the mean of the middle half (Agarwal et al., 2021).
#
# **Exercise 18.1.** Write it: sort the scores, and drop a quarter of them at each end, rounded down.
# %% tags=["exercise"]
def interquartile_mean(scores):
    """The mean of the middle half of scores [n]."""
    # <solution>
    cut = len(scores) // 4
    return np.mean(np.sort(scores)[cut : len(scores) - cut])
    # </solution>


interquartile_mean = check("18.1", interquartile_mean)


# %% [markdown]
# ## How sure are you?
#
# Ten other seeds would have given another number. How different? The **bootstrap** draws ten seeds from your ten,
# with replacement, a thousand times, and looks how much the number varies. The middle 95 % of the results are the
# **interval**.
#
# **Exercise 18.2.** Write it. `draws` [m, n] holds the indices that were drawn, a row for each repetition. Use
# `np.percentile` at 2.5 and 97.5.
# %% tags=["exercise"]
def interval(scores, draws):
    """(low, high) of the interquartile mean, from resamples of scores [n]."""
    # <solution>
    means = [interquartile_mean(scores[row]) for row in draws]
    low, high = np.percentile(means, [2.5, 97.5])
    return low, high
    # </solution>


interval = check("18.2", interval)
# %% [markdown]
# Two methods, of which the second is truly better by 30. On three seeds you cannot tell; on thirty you can. Intervals
# that overlap widely mean: train more seeds.
# %%
rng = np.random.default_rng(4)
figure = Figure(figsize=(7, 3), layout="constrained")
axes = figure.subplots()
for place, seeds in enumerate((3, 10, 30)):
    for shift, (name, truth) in enumerate({"one": 400, "the other": 430}.items()):
        scores = truth + 40 * rng.normal(size=seeds)
        low, high = interval(scores, rng.integers(0, seeds, (500, seeds)))
        x = place + 0.2 * shift
        axes.plot([x, x], [low, high], color=f"C{shift}", linewidth=4, label=name if place == 0 else None)
        axes.plot(x, interquartile_mean(scores), "o", color=f"C{shift}", markeredgecolor="white")
axes.set(xticks=[0.1, 1.1, 2.1], xticklabels=["3 seeds", "10 seeds", "30 seeds"], ylabel="score")
axes.legend(frameon=False)
polyak.Picture(figure)


# %% [markdown]
# ## Enough is enough
#
# A run that no longer improves may stop. **Exercise 18.3.** Say whether to stop: the last `patience` evaluations were
# all no better than the best one before them. With fewer than `patience + 1` evaluations, go on.
# %% tags=["exercise"]
def should_stop(evaluations, patience):
    """Whether the last `patience` of the evaluations brought nothing better."""
    # <solution>
    if len(evaluations) < patience + 1:
        return False
    return max(evaluations[-patience:]) <= max(evaluations[:-patience])
    # </solution>


should_stop = check("18.3", should_stop)


# %% [markdown]
# ## A world of your own
#
# Anything with Gymnasium's interface is a world. `polyak.check` plays it and says what is wrong with it. This one is
# a corridor of ten cells. The best return is 0.1: eight steps cost 0.1 each, and the last one, which arrives, earns
# 0.9.
# %%
class Corridor(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0.0, 9.0, (1,))
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.place = 0
        return np.array([self.place], np.float32), {}

    def step(self, action):
        self.place = max(0, self.place + (1 if action == 1 else -1))
        arrived = self.place == 9
        return np.array([self.place], np.float32), -0.1 + arrived, arrived, False, {}


def corridor():
    return gymnasium.wrappers.TimeLimit(Corridor(), 50)


print(polyak.check(corridor))


# %% [markdown]
# ## Callbacks
#
# Any object with a method such as `on_evaluation` is a callback. It is called while the run goes on, and may end it.
# Here is your `should_stop` at work; the library's own is `polyak.StopWithoutImprovement`.
# %% tags=["train"]
class Patience:
    def __init__(self, patience):
        self.patience, self.means = patience, []

    def on_evaluation(self, run, seed, step, returns):
        self.means.append(float(np.mean(returns)))
        print(f"step {step:6,}: {self.means[-1]:.2f}")
        if should_stop(self.means, self.patience):
            return polyak.Stop(f"no better for {self.patience} evaluations")


run = polyak.train(
    polyak.PPO(n_steps=64, anneal_learning_rate=True),
    corridor,
    steps=40_000,
    eval_every=1_000,
    callbacks=[Patience(3)],
    progress=False,
)
print(run.scores, run.stopped_early)

# %% [markdown]
# ## Kill it
#
# The computer loses power, the cluster takes the node away. Start a run in a process of its own, kill that process as
# soon as the first checkpoint is there, and go on with `resume`. Beside it a run that nobody disturbed: both end with
# the same policy, byte for byte.
# %% tags=["train"]
import pathlib
import subprocess
import sys
import tempfile
import time

folder = pathlib.Path(tempfile.mkdtemp())
options = ["--steps", "60000", "--checkpoint-every", "8000", "--out", str(folder)]
command = [sys.executable, "-m", "polyak.cli", "train", "ppo", "CartPole-v1", *options]
process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
while process.poll() is None and not list(folder.glob("*/checkpoints/*/*")):
    time.sleep(0.05)
process.kill()
process.wait()
(killed,) = folder.iterdir()
print("killed; its status is", polyak.Run(killed).about["status"])

resumed = polyak.resume(killed, progress=False)
undisturbed = polyak.train("ppo", "CartPole-v1", steps=60_000, progress=False)
same = [(run.path / "policy-0.safetensors").read_bytes() for run in (resumed, undisturbed)]
print("the same policy:", same[0] == same[1])
polyak.draw_curves([resumed, undisturbed], labels=["killed and resumed", "not disturbed"])

# %% tags=["result"]
assert same[0] == same[1]
assert resumed.about["status"] == "finished"

# %% [markdown]
# ## What courses leave out
#
# - Scores of one seed, of the best seed, or of the last evaluation alone. With a noisy method the best of many
#   evaluations is luck. polyak scores the *final* policy in fresh episodes, on every seed.
# - Checkpoints without the optimizer, the replay memory or the random numbers. Training goes on, and gives something
#   else.
# - Returns while learning, with exploration, set beside returns without it. Say which.
#
# The library: the statistics are in [evaluation.py](src/polyak/evaluation.py), stops in
# [callbacks/stopping.py](src/polyak/callbacks/stopping.py).
#
# Next: `polyak course 19`, which plans ahead, and plays games.
