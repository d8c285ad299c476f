# %% [markdown]
# # 14. Actor-critics
#
# You will write the advantages that nearly all of today's policy gradients use, with a dial between Monte Carlo and
# temporal differences, and compare four ways to weigh an action.
# %%
import dataclasses

import numpy as np
from matplotlib.figure import Figure

import polyak
from polyak.course import check


# %% [markdown]
# ## An actor and a critic
#
# REINFORCE waits for the end of an episode, and its returns are noisy (chapter 12). An **actor-critic** learns two
# things: the **actor** is the policy, and the **critic** its value. The critic tells after each step whether it went
# better than expected. That is the TD error of chapter 3, and now it is the weight of the score:
#
# $$\delta_t = r_t + \gamma\, v(s_{t+1}) - v(s_t)$$
#
# Code that collects a block of steps meets a trap here. After the last step of an episode the next *row* of the block
# belongs to a new episode. So `next_values` must hold the value of the state that was really reached, for every step.
# With that, an end and a cut differ only in the discount.
#
# **Exercise 14.1.** Write the TD errors of a block of $T$ steps.
# %% tags=["exercise"]
def td_errors(rewards, values, next_values, terminated, gamma):
    """[T] TD errors; values[t] is of the state left, next_values[t] of the state reached."""
    # <solution>
    return rewards + gamma * (1 - terminated) * next_values - values
    # </solution>


td_errors = check("14.1", td_errors)


# %% [markdown]
# ## A dial
#
# One TD error has little noise but trusts the critic. The return less the value trusts only what happened, but is
# noisy. **Generalised advantage estimation** (Schulman et al., 2016) adds up the errors that follow, each counted
# $\gamma\lambda$ times less than the one before:
#
# $$A_t = \delta_t + \gamma\lambda\, A_{t+1}$$
#
# $\lambda = 0$ is the TD error, $\lambda = 1$ the return less the value. The sum stops where an episode stops, *for
# either reason*: what happens in the next episode is no merit of this one.
#
# **Exercise 14.2.** Write the advantages. `over[t]` is 1 where the episode ended or was cut at step $t$.
# %% tags=["exercise"]
def advantages(errors, over, gamma, lam):
    """[T] generalised advantage estimates from TD errors [T]."""
    # <solution>
    result, following = np.zeros(len(errors)), 0.0
    for t in reversed(range(len(errors))):
        following = errors[t] + gamma * lam * (1 - over[t]) * following
        result[t] = following
    return result
    # </solution>


advantages = check("14.2", advantages)
# %% [markdown]
# See the dial. A critic says 0 everywhere, and the only reward comes at the end of 30 steps. With $\lambda = 0$ only
# the last action gets any praise; with $\lambda = 1$ all of them do.
# %%
rewards, nothing, over = np.eye(30)[29], np.zeros(30), np.eye(30)[29]
figure = Figure(figsize=(6, 3.2), layout="constrained")
axes = figure.subplots()
for lam in (0.0, 0.8, 0.95, 1.0):
    axes.plot(advantages(td_errors(rewards, nothing, nothing, over, 0.99), over, 0.99, lam), label=f"λ = {lam}")
axes.set(xlabel="step", ylabel="advantage")
axes.legend(frameon=False)
polyak.Picture(figure)


# %% [markdown]
# ## Do not settle too soon
#
# A policy that becomes certain stops exploring. Many losses therefore add the **entropy** of the policy, times a
# small number: $H = -\sum_a \pi(a) \log \pi(a)$. It is largest, $\log n$, if all $n$ actions are equally likely, and
# 0 if one is certain.
#
# **Exercise 14.3.** Write the entropy of a row of probabilities. An action of probability 0 adds nothing.
# %% tags=["exercise"]
def entropy(pi):
    """The entropy in nats."""
    # <solution>
    positive = pi[pi > 0]
    return -np.sum(positive * np.log(positive))
    # </solution>


entropy = check("14.3", entropy)
# %% [markdown]
# ## Four weights
#
# By which number should the score of an action be multiplied? Courses list four: the return, the action-value q, the
# advantage, and the TD error. Their mean gradient is the same if the critic is right. Their noise is not. The
# library's `A2C` takes the choice as an argument.
# %% tags=["train"]
a2c = polyak.A2C(network=polyak.MLP(hidden=(64, 64), activation="tanh"))
runs = [
    polyak.train(dataclasses.replace(a2c, weight=weight), "CartPole-v1", steps=200_000, seeds=3, progress=False)
    for weight in ("return", "q", "advantage", "td_error")
]
for run in runs:
    print(f"{run.about['settings']['weight']:10} {run.scores}")
polyak.draw_curves(runs, labels=[run.about["settings"]["weight"] for run in runs])

# %% tags=["result"]
assert runs[2].scores.mean > 450 > runs[0].scores.mean, [run.scores for run in runs]

# %% [markdown]
# On three seeds the advantage and the TD error reach 500, and the bare return and q are far behind (142 and 102):
# what they multiply is never negative on the pole, so they make every action likelier, and learn from the small
# differences only (chapter 12).
#
# ## What well-known listings get wrong
#
# - Code in Gym's old style multiplies by `1 - done` twice: in the TD error and in the sum. The sum must stop at a
#   cut, and the TD error must not (exercises 14.1 and 14.2 take different flags for that reason).
# - Some take `values[t + 1]` for the next value. At the end of an episode that is the first state of the next one.
# - The pseudocode of asynchronous Q-learning (Mnih et al., 2016) counts steps in many threads at once. A3C's threads
#   were there to keep the processor busy; environments side by side in one batch, as in `A2C(...)` with
#   `num_envs=16`, do the same and give the same numbers each time.
#
# The library: `generalised_advantage` in [ops/returns.py](src/polyak/ops/returns.py), and
# [algorithms/policy/a2c.py](src/polyak/algorithms/policy/a2c.py), where the four weights stand on one line.
#
# Next: `polyak course 15`, in which a step can be too large.
