# %% [markdown]
# # 15. Trust regions
#
# You will write the three devices that keep a policy from moving too far at once: a measure of how far it moved, the
# clip of PPO, and the solver with which TRPO finds its direction.
# %%
import numpy as np
from matplotlib.figure import Figure

import polyak
from polyak.course import check


# %% [markdown]
# ## A step can be too large
#
# In supervised learning a bad step is repaired by the next one. Here the policy gathers its own data. After a bad
# step it sees bad states, and learns from those. So measure how far a step moves the **policy**, not its weights. The
# usual measure is the **Kullback-Leibler divergence** of the new policy from the old one:
#
# $$\text{KL}(\pi_\text{old} \,\|\, \pi) = \sum_a \pi_\text{old}(a) \log \frac{\pi_\text{old}(a)}{\pi(a)}$$
#
# It is 0 if nothing moved. As a rule, 0.01 is a careful step.
#
# **Exercise 15.1.** Write it for two rows of probabilities, all of them positive.
# %% tags=["exercise"]
def kl(old, new):
    """The divergence in nats of two rows of probabilities."""
    # <solution>
    return np.sum(old * np.log(old / new))
    # </solution>


kl = check("15.1", kl)
# %%
old = np.array([0.5, 0.5])
for new in ([0.55, 0.45], [0.6, 0.4], [0.9, 0.1], [0.999, 0.001]):
    print(new, round(float(kl(old, np.array(new))), 4))


# %% [markdown]
# ## PPO: a clip
#
# PPO (Schulman et al., 2017) makes several updates from the same block. Let $\rho = \pi(a \mid s) / \pi_\text{old}(a
# \mid s)$. The objective is $\rho A$, but there is nothing to gain from moving $\rho$ farther than $1 \pm \epsilon$:
#
# $$L = \min\big(\rho A,\; \text{clip}(\rho, 1 - \epsilon, 1 + \epsilon)\, A\big)$$
#
# The minimum is the point. If the policy has moved the *wrong* way, the first term is the smaller one, and pulls it
# back.
#
# **Exercise 15.2.** Write the objective, from logarithms of probabilities.
# %% tags=["exercise"]
def clipped(log_prob, old_log_prob, advantage, epsilon):
    """[B] the objective of each step, to be maximised."""
    # <solution>
    ratio = np.exp(log_prob - old_log_prob)
    return np.minimum(ratio * advantage, np.clip(ratio, 1 - epsilon, 1 + epsilon) * advantage)
    # </solution>


clipped = check("15.2", clipped)
# %%
ratio = np.linspace(0.4, 1.6, 200)
figure = Figure(figsize=(7, 3), layout="constrained")
for axes, advantage in zip(figure.subplots(1, 2), (1.0, -1.0), strict=True):
    axes.plot(ratio, ratio * advantage, "--", label="not clipped")
    axes.plot(ratio, clipped(np.log(ratio), np.zeros(200), np.full(200, advantage), 0.2), label="clipped")
    axes.set(xlabel="ratio", title=f"advantage {advantage:+.0f}")
    axes.legend(frameon=False)
polyak.Picture(figure)


# %% [markdown]
# ## TRPO: a region
#
# TRPO (Schulman et al., 2015) solves the problem itself: the best step whose divergence is at most $\delta$. Near the
# old policy the divergence is $\tfrac12 x^\top F x$ for a step $x$, with a matrix $F$ that has a row for each weight.
# The best direction is $F^{-1} g$, the **natural gradient**. $F$ is far too large to write down, but $F v$ is cheap
# to compute. The method of **conjugate gradients** needs no more. From $x = 0$ and $r = d = g$, it repeats:
#
# $$\alpha = \frac{r \cdot r}{d \cdot F d} \qquad x \leftarrow x + \alpha d \qquad r' = r - \alpha F d \qquad
# d \leftarrow r' + \frac{r' \cdot r'}{r \cdot r}\, d$$
#
# **Exercise 15.3.** Write it. `product(v)` gives $F v$.
# %% tags=["exercise"]
def conjugate_gradient(product, g, iterations):
    """x [D] with F x = g, nearly, after so many iterations."""
    # <solution>
    x, r, d = np.zeros_like(g), g.copy(), g.copy()
    for _ in range(iterations):
        image = product(d)
        alpha = (r @ r) / (d @ image)
        x = x + alpha * d
        new_r = r - alpha * image
        d = new_r + (new_r @ new_r) / (r @ r) * d
        r = new_r
    return x
    # </solution>


conjugate_gradient = check("15.3", conjugate_gradient)
# %%
rng = np.random.default_rng(0)
root = rng.normal(size=(40, 40))
F, g = root @ root.T / 40 + np.eye(40), rng.normal(size=40)
for iterations in (1, 2, 5, 10):
    x = conjugate_gradient(lambda v: F @ v, g, iterations)
    print(f"{iterations:2} iterations: error {np.linalg.norm(F @ x - g) / np.linalg.norm(g):.1e}")

# %% [markdown]
# ## Both on the pole
#
# The lower figure shows how far each update moved the policy. TRPO keeps to its 0.01. PPO's clip promises nothing
# about the divergence; its learning rate falls to 0, and so do its steps.
# %% tags=["train"]
runs = [polyak.train(name, "CartPole-v1", seeds=3, progress=False) for name in ("trpo", "ppo")]
for run in runs:
    print(f"{run.about['algorithm']:5} {run.scores}")
figure = Figure(figsize=(7, 7), layout="constrained")
upper, lower = figure.subplots(2, 1)
polyak.draw_curves(runs, axes=upper)
picture = polyak.draw_curves(runs, "kl", axes=lower)
picture

# %% tags=["result"]
assert min(run.scores.mean for run in runs) > 475, [run.scores for run in runs]

# %% [markdown]
# ## What well-known listings get wrong
#
# - Some listings of PPO clip the ratio and forget the minimum. A policy that moved the wrong way then has no
#   gradient, and stays there.
# - Some compute `log_prob` of the old policy *after* the first update. The ratio is then 1, and nothing is ever
#   clipped.
# - Most normalise the advantages of every minibatch. Where nothing is left to learn, that only makes noise large. The
#   library's preset for the pole does not.
#
# The library: `clipped_surrogate` in [ops/policy_gradient.py](src/polyak/ops/policy_gradient.py),
# [ops/natural_gradient.py](src/polyak/ops/natural_gradient.py),
# [algorithms/policy/ppo.py](src/polyak/algorithms/policy/ppo.py). `PPO(kl_coef=1.0, target_kl=0.01)` is the variant
# with a penalty.
#
# Next: `polyak course 16`, in which actions are numbers.
