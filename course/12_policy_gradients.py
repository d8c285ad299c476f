# %% [markdown]
# # 12. Policy gradients
#
# You will write the gradient of a policy's return from three small pieces, see how noisy it is, and make it quieter
# in two ways that every later method uses.
# %%
import dataclasses

import gymnasium
import numpy as np

import polyak
from polyak.course import check


# %% [markdown]
# ## Learn the policy itself
#
# So far we learnt values, and the policy followed from them. Now the policy has parameters of its own. It gives a
# probability to each action, and we make good actions likelier. This works where values are hard to learn and a
# policy is easy, and where actions cannot be counted (chapter 16).
#
# Let the policy compute one number for each action, the **logits** $z$. The **softmax** makes probabilities of them:
# $\pi(a) = e^{z_a} / \sum_b e^{z_b}$. Which way must the logits move to make action $a$ likelier? Along the gradient
# of the **logarithm** of its probability, which is called the **score**:
#
# $$\frac{\partial \log \pi(a)}{\partial z_b} = [a = b] - \pi(b)$$
#
# **Exercise 12.1.** Write the score of an action with respect to the logits.
# %% tags=["exercise"]
def score(logits, action):
    """[A] the gradient of log pi(action)."""
    # <solution>
    pi = np.exp(logits - logits.max())
    pi /= pi.sum()
    return np.eye(len(logits))[action] - pi
    # </solution>


score = check("12.1", score)


# %% [markdown]
# ## REINFORCE
#
# The gradient of the expected return is the mean of scores times what came after them (Williams, 1992):
#
# $$\nabla J = \mathbb{E}\Big[\sum_t \nabla \log \pi(a_t \mid s_t)\; g_t\Big]$$
#
# $g_t$ is the return *from step $t$ on*. What was earned before an action cannot be its merit, so it is left out.
#
# **Exercise 12.2.** Write the return from each step on, for the rewards of one episode.
# %% tags=["exercise"]
def returns_to_go(rewards, gamma):
    """[T] the discounted return from each step on."""
    # <solution>
    returns, g = np.zeros(len(rewards)), 0.0
    for t in reversed(range(len(rewards))):
        g = rewards[t] + gamma * g
        returns[t] = g
    return returns
    # </solution>


returns_to_go = check("12.2", returns_to_go)


# %% [markdown]
# ## Less noise
#
# On the pole every return is positive, so *every* action is made likelier, good ones a little more than bad ones. The
# mean gradient is right, but single ones point everywhere. It helps to take something off the returns that does not
# depend on the action. The mean gradient stays the same, because the scores have mean 0.
#
# - **Whitening** takes off the mean of all returns of a batch, and divides by their standard deviation.
# - A **baseline** takes off what was to be expected in that very state: a value, learnt beside the policy.
#
# **Exercise 12.3.** Write whitening. Add `1e-8` to the deviation, so that equal returns give zeros and no division by
# zero.
# %% tags=["exercise"]
def whitened(returns):
    """[T] the returns with mean 0 and deviation 1."""
    # <solution>
    return (returns - returns.mean()) / (returns.std() + 1e-8)
    # </solution>


whitened = check("12.3", whitened)


# %% [markdown]
# ## How noisy is the gradient?
#
# A policy that is not very good yet plays 200 episodes on the pole. Each episode gives one estimate of the gradient,
# computed in four ways. How large is the noise of one estimate beside the mean of all? The smaller the number, the
# fewer episodes are needed for a useful step.
# %%
def episode(env, w, seed):
    """Observations [T, 4], actions [T] and rewards [T]."""
    rng = np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed)
    steps, over = [], False
    while not over:
        p = np.exp(w @ observation)
        action = int(rng.random() < p[1] / p.sum())
        next_observation, reward, terminated, truncated, _ = env.step(action)
        steps.append((observation, action, reward))
        observation, over = next_observation, terminated or truncated
    return tuple(map(np.array, zip(*steps, strict=True)))


env, w = gymnasium.make("CartPole-v1"), np.array([[0.0, 0.0, -1.0, -1.0], [0.0, 0.0, 1.0, 1.0]])
directions, returns = [], []  # of each episode: the scores of the weights [T, 8], and the returns to go [T]
for seed in range(200):
    observations, actions, rewards = episode(env, w, seed)
    scores = [np.outer(score(w @ o, a), o).ravel() for o, a in zip(observations, actions, strict=True)]
    directions.append(np.array(scores))
    returns.append(returns_to_go(rewards, 0.99))

mean = np.concatenate(returns).mean()
by_time = [np.mean([g[t] for g in returns if len(g) > t]) for t in range(500) if any(len(g) > t for g in returns)]
weights = {
    "return of the whole episode": lambda g: np.full(len(g), g[0]),
    "return to go": lambda g: g,
    "less the mean of all": lambda g: g - mean,
    "less a baseline": lambda g: g - by_time[: len(g)],  # the mean return to go at that time of an episode
}
for name, weight in weights.items():
    estimates = np.array([weight(g) @ direction for direction, g in zip(directions, returns, strict=True)])
    noise = np.sqrt(estimates.var(0).sum()) / np.linalg.norm(estimates.mean(0))
    print(f"{name:28} noise is {noise:5.1f} times the mean gradient")

# %% [markdown]
# ## On the pole
#
# The library's `REINFORCE` has the variants as settings. All learn from blocks of 500 steps, with the same step size.
# %% tags=["train"]
reinforce = polyak.REINFORCE(learning_rate=3e-3, anneal_learning_rate=True, baseline=False)
runs = [
    polyak.train(one, "CartPole-v1", steps=150_000, seeds=3, progress=False)
    for one in (
        reinforce,
        dataclasses.replace(reinforce, whiten=True),
        dataclasses.replace(reinforce, baseline=True),
    )
]
for name, run in zip(("plain", "whitened", "with a baseline"), runs, strict=True):
    print(f"{name:16} {run.scores}")
polyak.draw_curves(runs, labels=["plain", "whitened", "with a baseline"])

# %% tags=["result"]
assert runs[2].scores.mean > max(450, runs[0].scores.mean), [run.scores for run in runs]

# %% [markdown]
# ## What well-known listings get wrong
#
# - A slide of one course writes the gradient as $\sum \nabla \pi(a \mid s)\, g$. The **logarithm** is lost. Without
#   it an action is moved in proportion to its probability, twice over: it is taken more often *and* moved farther
#   each time. The best action may never catch up.
# - A course's agent for the pole trains a softmax with cross-entropy against the actions taken, weighted by whitened
#   returns. That is right: the gradient of cross-entropy *is* the score. But it gives -100 when the pole falls before
#   the clock runs out, and adds 100 to the printed score. That is another task, with the same best policy here, and
#   not elsewhere.
# - It updates after every episode, so whitening uses the few returns of one episode.
#
# | `CartPole-v1` | score of the final policies |
# |---|---|
# | as in the listing: whitened, layers of 24, 24; without the -100; 100,000 steps | 348 (four seeds, 115 to 500) |
# | `REINFORCE` as above, plain, 150,000 steps | 265 (three seeds, 166 to 366) |
# | the same, whitened | 404 (three seeds, 224 to 495) |
# | the same, with a baseline | 500 (three seeds, all 500) |
# | `polyak train reinforce CartPole-v1`, 200,000 steps | 500 (ten seeds, all 500) |
#
# The library: [algorithms/policy/reinforce.py](src/polyak/algorithms/policy/reinforce.py), and
# [ops/returns.py](src/polyak/ops/returns.py), `discounted`.
#
# Next: `polyak course 13`, which needs no gradients at all.
