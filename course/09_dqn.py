# %% [markdown]
# # 9. DQN
#
# You will write the three parts that make Q-learning work with a network: the replay memory, the target network, and
# the Huber loss; then you set two famous listings beside one that learns.
# %%
import gymnasium
import numpy as np
from matplotlib.figure import Figure

import polyak
from polyak.course import check


# %% [markdown]
# ## Why a table's rule breaks with a network
#
# Chapter 8 chose the features by hand. A network finds its own. The deep Q-network (**DQN**, Mnih et al., 2015) is
# Q-learning whose table is a network: it takes an observation and returns a value for each action. Simply put
# together they diverge, for two reasons.
#
# 1. Steps that follow each other are alike. A network that sees only the left side of the world forgets the right
#    one.
# 2. The target moves with every update, since it comes from the same network.
#
# ## Replay
#
# The first remedy is a **replay memory**. It keeps the last many steps, and each update takes a random **batch** of
# them. It is a ring: when it is full, a new step overwrites the oldest one.
#
# **Exercise 9.1.** Write how one step enters the ring. `count` steps have been added before this one.
# %% tags=["exercise"]
def add(ring, count, step):
    """The ring [N] with the step in its place; and how many of its entries are in use now."""
    # <solution>
    ring = ring.copy()
    ring[count % len(ring)] = step
    return ring, min(count + 1, len(ring))
    # </solution>


add = check("9.1", add)


# %% [markdown]
# ## The target
#
# The second remedy is a **target network**: a copy of the network that lags behind. Targets come from the copy, so
# that they hold still for a while.
#
# $$y = r + \gamma\,(1 - \text{terminated}) \max_{a'} q_\text{target}(s', a')$$
#
# **Exercise 9.2.** Write the targets of a batch of $B$ steps. `q_next` [B, A] comes from the target network. Some of
# the steps ended the episode, and some were cut by the clock.
# %% tags=["exercise"]
def targets(reward, terminated, truncated, q_next, gamma):
    """[B] targets; reward, terminated and truncated are [B]."""
    # <solution>
    return reward + gamma * (1 - terminated) * q_next.max(1)
    # </solution>


targets = check("9.2", targets)


# %% [markdown]
# The copy can jump to the network's weights every thousand steps, or it can follow a little at every step:
# $\theta_\text{target} \leftarrow \theta_\text{target} + \tau\,(\theta - \theta_\text{target})$. The second is
# **Polyak averaging**, from which this library has its name. $\tau = 1$ is the jump.
#
# **Exercise 9.3.** Write it for a list of arrays of weights.
# %% tags=["exercise"]
def follow(target_weights, weights, tau):
    """The target network's weights, moved by a share tau towards the network's."""
    # <solution>
    return [old + tau * (new - old) for old, new in zip(target_weights, weights, strict=True)]
    # </solution>


follow = check("9.3", follow)


# %% [markdown]
# ## A loss that does not shout
#
# The squared error of a single odd step can throw the network far. The **Huber loss** is squared near zero and
# straight beyond $\pm 1$, so that its slope never exceeds 1:
#
# $$h(\delta) = \tfrac12 \delta^2 \text{ where } |\delta| \le 1, \quad |\delta| - \tfrac12 \text{ elsewhere}$$
#
# **Exercise 9.4.** Write it for an array of errors.
# %% tags=["exercise"]
def huber(error):
    """The loss of each error."""
    # <solution>
    size = np.abs(error)
    return np.where(size <= 1, 0.5 * size**2, size - 0.5)
    # </solution>


huber = check("9.4", huber)
# %%
errors = np.linspace(-4, 4, 200)
figure = Figure(figsize=(5, 3), layout="constrained")
axes = figure.subplots()
axes.plot(errors, 0.5 * errors**2, label="squared")
axes.plot(errors, huber(errors), label="Huber")
axes.set(xlabel="error", ylabel="loss", ylim=(0, 6))
axes.legend(frameon=False)
polyak.Picture(figure)

# %% [markdown]
# Here are the parts at work on real steps. A random player fills a small ring. The network is missing, so all next
# values are 1 here: you see which targets bootstrap.
# %%
env, rng = gymnasium.make("CartPole-v1", max_episode_steps=20), np.random.default_rng(0)
env.reset(seed=0)
ring = np.zeros((128, 3))  # reward, terminated, truncated
for count in range(400):
    _, reward, terminated, truncated, _ = env.step(int(rng.integers(2)))
    ring, used = add(ring, count, np.array([reward, terminated, truncated]))
    if terminated or truncated:
        env.reset()
batch = ring[rng.integers(0, used, 200)]
y = targets(*batch.T, q_next=np.ones((200, 2)), gamma=0.9)
print(
    "ended:",
    np.unique(y[batch[:, 1] == 1]),
    " cut by the clock:",
    np.unique(y[(batch[:, 2] == 1) & (batch[:, 1] == 0)]),
)

# %% [markdown]
# ## Twenty-five lines on the pole
#
# A hands-on for another library puts DQN for the pole into 25 lines: 5,000 steps, a soft target of 0.01, a memory of
# 50,000, $\varepsilon = 0.1$, Adam with 0.001. This is the same here, with the network of that library's example:
# three layers of 16 units.
# %% tags=["train"]
listing = polyak.DQN(
    learning_rate=1e-3,
    buffer_size=50_000,
    learning_starts=32,
    batch_size=32,
    train_freq=1,
    target_update_interval=1,
    tau=0.01,
    exploration_initial_eps=0.1,
    exploration_final_eps=0.1,
    double=True,
    network=polyak.MLP(hidden=(16, 16, 16)),
)
run = polyak.train(listing, "CartPole-v1", steps=5_000, seeds=2, progress=False)
print("the listing:", run.scores)

# %% [markdown]
# The preset of this library looks five steps ahead (`n_steps`), follows with `tau=0.05`, lets $\varepsilon$ fall from
# 1 to 0.04, and makes more updates. It takes 50,000 steps.
# %% tags=["train"]
modern = polyak.train("dqn", "CartPole-v1", seeds=2, progress=False)
print("the preset:", modern.scores)
polyak.draw_curves([run, modern], labels=["the listing", "the preset"])

# %% tags=["result"]
assert modern.scores.mean > 450 > run.scores.mean, (modern.scores, run.scores)

# %% [markdown]
# ## What the well-known listings get wrong
#
# **The 25 lines.** As printed, the model lacks its hidden layers and its last layer, and `fit` stands in a comment,
# so it never learns. With one hidden layer of 16 units it does not get there: it stays at 9, as bad as always pushing
# to one side.
#
# **The agent for `MountainCar-v0`** of another course has a memory, two layers of 24 units, and these flaws:
#
# - $\varepsilon$ never decays. The factor 0.995 is a setting that no line applies.
# - It gives -10 at the end, and on the mountain the "end" is the clock (chapter 1).
# - It has no target network, and $\gamma = 0.95$ looks only 20 steps ahead where the way takes more than 100.
# - So it never reaches the flag, and all its targets say that every action is equally bad.
#
# | | world | steps | score |
# |---|---|---|---|
# | 25 lines, one layer of 16 units | CartPole-v1 | 5,000 | 9 (mean of four seeds, 9 to 10) |
# | 25 lines, three layers of 16 units | CartPole-v1 | 5,000 | 117 (mean of four seeds, 43 to 269) |
# | `polyak train dqn CartPole-v1` | CartPole-v1 | 50,000 | 500 (mean of ten seeds, all 500) |
# | the agent for the mountain | MountainCar-v0 | 100,000 | -200 (two seeds, without the -10) |
# | `polyak train dqn MountainCar-v0` | MountainCar-v0 | 120,000 | -103.5 (mean of ten seeds) |
# | the same with two more seeds | MountainCar-v0 | 120,000 | one -102, one -200 |
#
# The library: the loss is three lines in [algorithms/value/dqn.py](src/polyak/algorithms/value/dqn.py), `huber` is in
# [ops/td.py](src/polyak/ops/td.py), the ring in [parts/ring.py](src/polyak/parts/ring.py), and what all networks of
# this kind share in [parts/deep_q.py](src/polyak/parts/deep_q.py). `polyak.film(run)` plays a run's best policy here.
#
# Next: `polyak course 10`, in which DQN's values turn out too large.
