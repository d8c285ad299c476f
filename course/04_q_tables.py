# %% [markdown]
# # 4. Q-tables
#
# You will write Q-learning with a table: the error that it learns from, the way it explores, and the bins that bring
# a car without a table up a mountain.
# %%
import gymnasium
import numpy as np
from matplotlib.figure import Figure

import polyak
from polyak.course import check


# %% [markdown]
# ## A table of action-values
#
# Values of states (chapter 3) do not tell what to do: for that you would need to know where each action leads.
# **Action-values** do. `q[s, a]` is the return to expect if the agent takes action `a` in state `s` and the best
# actions after it. The best action in `s` is then `q[s].argmax()`: no model, no planning.
#
# **Q-learning** keeps these numbers in a table and corrects one of them after each step. Its TD error bootstraps from
# the best action in the next state:
#
# $$\delta = r + \gamma \max_{a'} q(s', a') - q(s, a) \qquad q(s, a) \leftarrow q(s, a) + \alpha\, \delta$$
#
# **Exercise 4.1.** Write the TD error of Q-learning. `q` is the table. Mind the end of an episode.
# %% tags=["exercise"]
def td_error(q, s, a, reward, terminated, s_next, gamma):
    """The error of q[s, a] after one step."""
    # <solution>
    return reward + gamma * (1 - terminated) * q[s_next].max() - q[s, a]
    # </solution>


td_error = check("4.1", td_error)


# %% [markdown]
# ## Explore, or use what you know?
#
# An agent that always takes the best action of its table never learns what the others are worth. One that always
# tries things out never earns anything. **Epsilon-greedy** does both: with probability $\varepsilon$ it takes any
# action, else the best.
#
# Chance comes in through the arguments: `coin` is a random number in [0, 1), and `any_action` a random action. With
# the same arguments the function gives the same action, so that it can be tested. The whole library is written in
# this way.
#
# **Exercise 4.2.** Write epsilon-greedy for one row of the table.
# %% tags=["exercise"]
def epsilon_greedy(q_row, epsilon, coin, any_action):
    """The action: any_action with probability epsilon, else the best."""
    # <solution>
    return any_action if coin < epsilon else int(np.argmax(q_row))
    # </solution>


epsilon_greedy = check("4.2", epsilon_greedy)


# %% [markdown]
# At first the table knows nothing, so the agent should explore; at last it should not. So $\varepsilon$ shrinks while
# the agent learns: it **decays**. The simplest way is a straight line, from `first` at step 0 to `last` at step
# `steps`, and `last` from then on.
#
# **Exercise 4.3.** Write the schedule.
# %% tags=["exercise"]
def decayed(step, steps, first, last):
    """Epsilon at a step."""
    # <solution>
    share = min(step / steps, 1.0)
    return first + share * (last - first)
    # </solution>


decayed = check("4.3", decayed)


# %% [markdown]
# ## Learn the lake
#
# This is all of Q-learning. The lake is the one of chapter 2, and now nobody knows its probabilities.
# %%
def q_learning(env, steps, gamma, alpha, seed=0):
    """A table, learnt from so many steps."""
    rng = np.random.default_rng(seed)
    q = np.zeros((env.observation_space.n, env.action_space.n))
    s, _ = env.reset(seed=seed)
    for step in range(steps):
        epsilon = decayed(step, steps, 1.0, 0.1)
        a = epsilon_greedy(q[s], epsilon, rng.random(), int(rng.integers(env.action_space.n)))
        s_next, reward, terminated, truncated, _ = env.step(a)
        q[s, a] += alpha * td_error(q, s, a, reward, terminated, s_next, gamma)
        s = env.reset()[0] if terminated or truncated else s_next
    return q


lake = polyak.MDP.from_gymnasium("FrozenLake-v1")
plan = polyak.value_iteration(lake, gamma=0.99)
q = q_learning(gymnasium.make("FrozenLake-v1"), steps=40_000, gamma=0.99, alpha=0.05)
learnt, best = polyak.expected_return(lake, q.argmax(1)), polyak.expected_return(lake, plan.policy)
print(f"crosses the lake: {learnt:.1%} as learnt, {best:.1%} at best")

# %% [markdown]
# `draw_q` draws the whole table: each cell has four triangles, one for each action. The plan is on the right.
# %%
figure = Figure(figsize=(13, 5.4), layout="constrained")
left, right = figure.subplots(1, 2)
polyak.draw_q(lake, q, title="learnt by Q-learning", axes=left)
picture = polyak.draw_q(lake, plan, title="planned", axes=right)
picture

# %% [markdown]
# ## The same in one line
#
# polyak's Q-learning is the same update, compiled, on several seeds at once. One seed proves little: look at four.
# `Taxi-v4` has 500 states. Its passengers want to be fetched and brought home; 7.9 points on average is the best.
# %% tags=["train"]
run = polyak.train("q-learning", "Taxi-v4", steps=300_000, seeds=4, progress=False)
print(run.scores)
run.plot()

# %% tags=["result"]
assert run.scores.mean > 7, run.scores


# %% [markdown]
# ## No states to count: bins
#
# `MountainCar-v0` shows two numbers, the place of a car and its speed. A table has no row for 0.5137. The oldest
# remedy is to cut each range into **bins** and to number the boxes that arise: with 20 bins along each of two numbers
# there are 400. The number of a box is `bin of the first + bins * bin of the second`, and the bins count from 0.
#
# **Exercise 4.4.** Write the number of the box. A value at the upper end of its range belongs to the last bin.
# %% tags=["exercise"]
def box_number(observation, low, high, bins):
    """The number of the box, 0 to bins^2 - 1, of an observation between low and high, all of them [2]."""
    # <solution>
    share = (np.asarray(observation) - low) / (np.asarray(high) - low)
    first, second = np.minimum((share * bins).astype(int), bins - 1)
    return int(first + bins * second)
    # </solution>


box_number = check("4.4", box_number)
# %% [markdown]
# In polyak bins are features of a linear learner: `Tiles(tilings=1, tiles=20)` is one grid of 20 by 20 boxes, and
# `LinearQLearning` on it *is* Q-learning with a table. (Chapter 8 lays several grids over each other. That is much
# better.)
# %% tags=["train"]
by_bins = polyak.LinearQLearning(
    features=polyak.Tiles(tilings=1, tiles=20),
    learning_rate=polyak.StepSize(0.5, 0.05),
    gamma=0.99,
    trace_lambda=0.0,
    exploration=polyak.EpsilonGreedy(1.0, 0.0, 0.5),
)
run = polyak.train(by_bins, "MountainCar-v0", steps=500_000, seeds=2, progress=False)
print(run.scores)
run.plot()

# %% tags=["result"]
assert run.scores.mean > -185, run.scores

# %% [markdown]
# ## What a well-known listing gets wrong
#
# A course prints Q-learning with a table for `MountainCar-v0`. It has three mistakes, and you have just written what
# repairs them.
#
# 1. It makes a table of "observations times actions" and looks up `Q[observation, :]`. The observation is two decimal
#    numbers (a `Box`), so Python stops at the first look-up. Bins are missing (exercise 4.4).
# 2. It adds each reward to the reward of the same step, where it means the return of the episode, so its printed
#    scores are wrong.
# 3. It stops at the first episode that reaches the flag.
#
# | | score on MountainCar-v0 (-200 is the worst) |
# |---|---|
# | the listing as printed | stops with an `IndexError` |
# | the same with 20 by 20 bins, as above, 500,000 steps | -157 (mean of four seeds, -168 to -144) |
# | chapter 8's tiles and SARSA, 150,000 steps | -105 (mean of ten seeds) |
# %%
env = gymnasium.make("MountainCar-v0")
observation, _ = env.reset(seed=0)
try:
    np.zeros((40, 3))[observation, :]
except IndexError as error:
    print("IndexError:", error)

# %% [markdown]
# The library's own code is short: the error is `q_learning` in [ops/td.py](src/polyak/ops/td.py), the algorithm is
# [algorithms/tabular/q_learning.py](src/polyak/algorithms/tabular/q_learning.py), and
# [parts/exploration.py](src/polyak/parts/exploration.py) has five more ways to explore. Try one:
# `polyak.QLearning(exploration=polyak.UCB(2.0))`.
#
# Next: `polyak course 5`, in which exploring is dangerous.
