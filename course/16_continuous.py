# %% [markdown]
# # 16. Continuous actions
#
# You will write the two ways to choose numbers instead of buttons: a normal distribution, squashed into bounds, and a
# deterministic policy that follows the slope of its critic.
# %%
import numpy as np
from matplotlib.figure import Figure

import polyak
from polyak.course import check


# %% [markdown]
# ## A torque is a number
#
# `Pendulum-v1` has one action, a torque between -2 and 2. There is no largest entry of a table to look for, and no
# softmax over endlessly many actions. But a policy can give the **mean** and the **standard deviation** of a normal
# distribution, and everything of chapters 12 to 15 works: all it needs is the logarithm of the density.
#
# $$\log \pi(a) = -\tfrac12 \Big(\frac{a - \mu}{\sigma}\Big)^2 - \log \sigma - \tfrac12 \log 2\pi$$
#
# **Exercise 16.1.** Write it for one number. The policy gives $\log \sigma$, because that may be any number.
# %% tags=["exercise"]
def log_density(action, mean, log_std):
    """log pi(action)."""
    # <solution>
    return -0.5 * ((action - mean) / np.exp(log_std)) ** 2 - log_std - 0.5 * np.log(2 * np.pi)
    # </solution>


log_density = check("16.1", log_density)


# %% [markdown]
# ## Bounds
#
# A normal number may lie beyond the bounds. One can clip it, or **squash** it: draw $u$, and act with $a = \tanh u$,
# which lies between -1 and 1. Then the density must be corrected. Where tanh is flat, many $u$ share a small range of
# $a$, so the density of $a$ is higher there, by one over the slope:
#
# $$\log \pi(a) = \log \pi(u) - \log\big(1 - \tanh^2 u\big)$$
#
# **Exercise 16.2.** Write the density of the squashed action, for the number $u$ that was drawn.
# %% tags=["exercise"]
def squashed_log_density(u, mean, log_std):
    """log pi(tanh u)."""
    # <solution>
    return log_density(u, mean, log_std) - np.log(1 - np.tanh(u) ** 2)
    # </solution>


squashed_log_density = check("16.2", squashed_log_density)
# %% [markdown]
# Check it by eye: the curve below must fit the histogram of squashed numbers.
# %%
u = np.random.default_rng(0).normal(0.3, 0.8, 20_000)
at = np.linspace(-2.5, 2.5, 200)
figure = Figure(figsize=(5, 3.2), layout="constrained")
axes = figure.subplots()
axes.hist(np.tanh(u), bins=60, density=True, alpha=0.4)
axes.plot(np.tanh(at), [np.exp(squashed_log_density(one, 0.3, np.log(0.8))) for one in at])
axes.set(xlabel="action", ylabel="density")
polyak.Picture(figure)


# %% [markdown]
# ## A policy without dice
#
# If the critic $q(s, a)$ has a slope in $a$, you know in which direction the action should move. A **deterministic**
# policy $a = \mu_\theta(s)$ can follow it (Silver et al., 2014). The chain rule gives the gradient:
#
# $$\nabla_\theta J = \mathbb{E}\big[\nabla_\theta \mu_\theta(s)\; \nabla_a q(s, a) |_{a = \mu(s)}\big]$$
#
# DDPG, TD3 and SAC are built on it. They learn from a replay memory, as DQN does.
#
# **Exercise 16.3.** Write the gradient for the linear policy $a = \theta \cdot s$, of which $\nabla_\theta \mu = s$.
# `slope(s, a)` gives the slopes $\nabla_a q$ of a batch.
# %% tags=["exercise"]
def deterministic_gradient(theta, states, slope):
    """[K] the mean gradient over states [B, K]; slope(states, actions [B]) -> [B]."""
    # <solution>
    actions = states @ theta
    return (slope(states, actions)[:, None] * states).mean(0)
    # </solution>


deterministic_gradient = check("16.3", deterministic_gradient)
# %% [markdown]
# Try it: $q(s, a) = -(a - 2 s_1 + s_2)^2$ is best at $\theta = (2, -1)$. Gradient ascent finds it.
# %%
states, theta = np.random.default_rng(0).normal(size=(64, 2)), np.zeros(2)
for step in range(41):
    if step % 10 == 0:
        print(f"step {step:2}: theta = {theta.round(3)}")
    theta = theta + 0.1 * deterministic_gradient(theta, states, lambda s, a: -2 * (a - 2 * s[:, 0] + s[:, 1]))

# %% [markdown]
# ## The pendulum
#
# DDPG is deterministic. SAC draws from a squashed normal distribution and is paid for its entropy. Both learn from
# 20,000 steps, with an update for each. A return of -140 is about the best, and -1,200 is a pendulum that hangs.
# %% tags=["train"]
runs = [polyak.train(name, "Pendulum-v1", seeds=2, progress=False) for name in ("ddpg", "sac")]
for run in runs:
    print(f"{run.about['algorithm']:5} {run.scores}")
polyak.draw_curves(runs)

# %% tags=["result"]
assert min(run.scores.mean for run in runs) > -180, [run.scores for run in runs]

# %% [markdown]
# ## What well-known listings get wrong
#
# - Some squash the mean and then add noise, so that actions leave the bounds after all; the environment clips them,
#   and the density that was learnt from is not that of the action.
# - Many compute $\log(1 - \tanh^2 u)$ as it stands here. For $|u| > 9$ float32 rounds it to $\log 0$. The library
#   uses $2\,(\log 2 - u - \text{softplus}(-2u))$, which is the same without the rounding.
# - The pseudocode of DDPG that courses print bootstraps after every step, and has no word for an end. On the pendulum
#   that is right: `Pendulum-v1` never ends, *every* episode of it is cut after 200 steps. Code that adds `done` to
#   the target, and sets it at the time limit, teaches that the pendulum dies at step 200.
#
# The library: `Gaussian` in [parts/distributions.py](src/polyak/parts/distributions.py),
# [algorithms/continuous/ddpg.py](src/polyak/algorithms/continuous/ddpg.py) and
# [algorithms/continuous/sac.py](src/polyak/algorithms/continuous/sac.py).
#
# Next: `polyak course 17`, in which an agent remembers and imagines.
