# %% [markdown]
# # 8. Linear SARSA
#
# You will write features of a continuous observation and an update of linear action-values, and balance a pole with
# them in seconds, without a neural network.
# %%
import gymnasium
import numpy as np
from matplotlib.figure import Figure

import polyak
from polyak.course import check


# %% [markdown]
# ## From tables to weights
#
# A table has one number for each state. Where states are continuous there are too many of them, and what is learnt in
# one should count nearby too. So describe a state by a vector $x$ of **features**, and let values be linear in them,
# with one vector of weights for each action:
#
# $$q(s, a) = w_a \cdot x(s)$$
#
# Everything depends on the features. Take the raw numbers of the pole. Then $q$ is a straight line in the angle: if a
# lean to the right is good, a lean to the left is bad. But an upright pole is best, and leaning *either* way is bad.
# No straight line can say that.
#
# ## Cosines
#
# The **Fourier basis** scales each observation to [0, 1], and takes cosines of several frequencies. For two numbers
# and order 1, the frequencies $c$ are (0,0), (0,1), (1,0) and (1,1). The feature (0,0) is always 1.
#
# $$x_c(s) = \cos(\pi\, c \cdot s)$$
#
# **Exercise 8.1.** Write the Fourier features of an observation that is scaled to [0, 1] already. `c` has a row for
# each feature.
# %% tags=["exercise"]
def fourier(scaled, c):
    """[F] features, from a scaled observation [K] and frequencies c [F, K]."""
    # <solution>
    return np.cos(np.pi * (c @ scaled))
    # </solution>


fourier = check("8.1", fourier)


# %% [markdown]
# ## Tiles
#
# Chapter 4 cut the mountain into boxes. Small boxes learn slowly, as each must be visited. Large boxes see little.
# **Tile coding** lays several grids of large boxes over each other, each shifted by a part of a box. One observation
# then lies in one box of *each* grid. Neighbours share some boxes but not all, so the value is fine although the
# boxes are large.
#
# **Exercise 8.2.** For one number between 0 and 1, return the box in each of `tilings` grids. Grid $i$ is shifted by
# $i / \text{tilings}$ of a box: its box is `floor(scaled * tiles + i / tilings)`. The boxes of grid $i$ are numbered
# from `i * (tiles + 1)` on. (Why `tiles + 1`?)
# %% tags=["exercise"]
def active_tiles(scaled, tilings, tiles):
    """[tilings] the number of the box in each grid."""
    # <solution>
    grid = np.arange(tilings)
    return grid * (tiles + 1) + np.floor(scaled * tiles + grid / tilings).astype(int)
    # </solution>


active_tiles = check("8.2", active_tiles)
# %%
for scaled in (0.50, 0.58, 0.66):
    print(f"{scaled:.2f} lies in the boxes", active_tiles(scaled, tilings=4, tiles=4))


# %% [markdown]
# ## Learn the weights
#
# SARSA's error is that of chapter 5, with $q(s, a) = w_a \cdot x$. To correct $q(s, a)$, move $w_a$ along its
# gradient, which is simply $x$:
#
# $$w_a \leftarrow w_a + \alpha\, \delta\, x$$
#
# The target contains the weights too, and we do not differentiate it. That is why one speaks of a **semi-gradient**.
#
# **Exercise 8.3.** Write one update. It should change the weights of the action that was taken, and no others.
# %% tags=["exercise"]
def update(w, x, a, reward, terminated, x_next, a_next, alpha, gamma):
    """Weights [A, F] after one step from features x [F] with action a to x_next [F] with a_next."""
    # <solution>
    w = w.copy()
    error = reward + gamma * (1 - terminated) * (w[a_next] @ x_next) - w[a] @ x
    w[a] += alpha * error * x
    return w
    # </solution>


update = check("8.3", update)
# %% [markdown]
# ## By hand
#
# The pole's four numbers, scaled from what occurs to [0, 1], give 16 Fourier features of order 1. A higher frequency
# gets a smaller step, divided by its length.
# %%
LOW, HIGH = np.array([-2.4, -3.0, -0.21, -3.0]), np.array([2.4, 3.0, 0.21, 3.0])
C = np.array(list(np.ndindex(2, 2, 2, 2)))
STEP = 0.01 / np.maximum(np.linalg.norm(C, axis=1), 1.0)


def features(observation):
    return fourier(np.clip((observation - LOW) / (HIGH - LOW), 0, 1), C)


def learn(episodes, epsilon, gamma=0.99, seed=0):
    """The weights, and the return of each episode."""
    rng, env = np.random.default_rng(seed), gymnasium.make("CartPole-v1")
    w, returns = np.zeros((2, len(C))), []

    def choose(x):
        return int(rng.integers(2)) if rng.random() < epsilon else int(np.argmax(w @ x))

    for episode in range(episodes):
        x = features(env.reset(seed=seed + episode)[0])
        a, total, over = choose(x), 0.0, False
        while not over:
            observation, reward, terminated, truncated, _ = env.step(a)
            x_next = features(observation)
            a_next = choose(x_next)
            w = update(w, x, a, reward, terminated, x_next, a_next, STEP, gamma)
            x, a, total, over = x_next, a_next, total + reward, terminated or truncated
        returns.append(total)
    return w, np.array(returns)


w, returns = learn(episodes=100, epsilon=0.05)
print("mean return of the first twenty episodes", returns[:20].mean(), "and of the last twenty", returns[-20:].mean())

# %% [markdown]
# Higher order, and **traces**, which let one error correct the steps before it too, do the rest. The library's preset
# has order 3, 256 features, and $\lambda = 0.9$. Here it stands beside raw numbers. Every seed is a thin line.
# %% tags=["train"]
raw = polyak.LinearSARSA(
    features=polyak.Raw(),
    learning_rate=1e-3,
    gamma=0.99,
    trace_lambda=0.0,
    exploration=polyak.EpsilonGreedy(0.1, 0.0),
)
runs = [
    polyak.train(raw, "CartPole-v1", steps=60_000, seeds=4, progress=False),
    polyak.train("linear-sarsa", "CartPole-v1", seeds=4, progress=False),
]
for run in runs:
    print(run.about["settings"]["features"], run.scores)
polyak.draw_curves(runs, labels=["raw numbers", "Fourier features of order 3"])

# %% tags=["result"]
assert runs[0].scores.iqm < 150, runs[0].scores
assert runs[1].scores.mean >= 475, runs[1].scores

# %% [markdown]
# ## What the weights say
#
# Keep the cart in the middle and draw how much better a push to the right is than one to the left, over the angle and
# the angular speed. A policy that balances has a border that falls from the upper left to the lower right, like the
# third policy by hand of chapter 1.
# %% tags=["train"]
policy = runs[1].policy()
angle, speed = np.meshgrid(np.linspace(-0.2, 0.2, 41), np.linspace(-2, 2, 41))
zeros = np.zeros_like(angle)
pushes = np.asarray(policy(np.stack([zeros, zeros, angle, speed], -1).reshape(-1, 4).astype(np.float32)))
figure = Figure(figsize=(5, 4), layout="constrained")
axes = figure.subplots()
axes.pcolormesh(angle, speed, pushes.reshape(angle.shape), cmap="coolwarm", shading="nearest")
axes.set(xlabel="angle, rad", ylabel="angular speed, rad/s", title="red: push right")
polyak.Picture(figure)

# %% [markdown]
# ## What a well-known listing gets wrong
#
# A blog prints SARSA for the pole with $q = w_a \cdot s$ on the *raw* numbers, and says that it is solved, with 195
# steps over 100 episodes, "after 60 or so episodes". The equations are right, and the features cannot represent the
# value, as you saw.
#
# | `CartPole-v1`, 500 is the best | score of the final policies |
# |---|---|
# | the listing: SARSA on raw numbers, 60,000 steps | 29 (mean of four seeds, 9 to 86) |
# | 8 grids of tiles, 6 along each number, 100,000 steps | 493 (mean of four seeds, 472 to 500) |
# | the preset: Fourier features of order 3, 60,000 steps | 500 (mean of ten seeds, all 500) |
#
# The library: [parts/features.py](src/polyak/parts/features.py) has five kinds of features,
# [algorithms/linear/linear_sarsa.py](src/polyak/algorithms/linear/linear_sarsa.py) the learner.
#
# Next: `polyak course 9`, in which a network finds its features itself.
