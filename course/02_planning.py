# %% [markdown]
# # 2. Planning
#
# You will write value iteration, which finds the best policy of a world whose probabilities are known, and see it
# cross a frozen lake.
# %%
import gymnasium
import numpy as np
from matplotlib.figure import Figure

import polyak
from polyak.course import check

# %% [markdown]
# ## The lake
#
# `FrozenLake-v1` is a grid of 16 cells. The ice is slippery: the agent goes where it wants one time in three, and to
# either side one time in three. A hole ends the episode with nothing. The goal ends it with a reward of 1.
#
# Nobody needs to try this out. The probabilities are written in the environment, and `MDP.from_gymnasium` reads them:
# `P[s, a, s']` is the probability of the next state $s'$, and `R[s, a]` the reward to expect.
# %%
lake = polyak.MDP.from_gymnasium("FrozenLake-v1")
P, R, gamma = lake.P, lake.R, 0.99
print("P has shape", P.shape, "and R has shape", R.shape)
print(
    "from cell 14, action 2 (right) leads to", {int(s): round(float(P[14, 2, s]), 2) for s in np.flatnonzero(P[14, 2])}
)


# %% [markdown]
# ## Why not try all policies?
#
# A policy is one action for each cell. Four actions and 16 cells make $4^{16}$ policies, about four billion. Taxi has
# 500 states and 6 actions, which make a number of 390 digits. Brute force is out of the question even in toys.
#
# ## One equation
#
# The **value** of a state is the return to expect from it. Say we knew the values of all next states. Then one step
# of looking ahead gives the **action-value** $q(s, a)$, the return to expect after action $a$ in state $s$:
#
# $$q(s, a) = R(s, a) + \gamma \sum_{s'} P(s' \mid s, a)\, v(s')$$
#
# This is called a **backup**. Everything in this chapter repeats it.
#
# **Exercise 2.1.** Write the backup for all states and actions at once. (`P @ values` sums over the last axis of
# `P`.)
# %% tags=["exercise"]
def backup(P, R, values, gamma):
    """Action-values [S, A] from P [S, A, S], R [S, A] and values [S]."""
    # <solution>
    return R + gamma * P @ values
    # </solution>


backup = check("2.1", backup)


# %% [markdown]
# ## What a policy is worth
#
# If a policy $\pi$ is given, its values obey $v(s) = q(s, \pi(s))$. Read it as an assignment: begin with zeros, and
# replace $v$ by the right side again and again. Each turn is a **sweep**. The values come closer to the truth by a
# factor of $\gamma$ with each sweep, from wherever you begin.
#
# **Exercise 2.2.** Evaluate a policy by a given number of sweeps from zero. `policy[s]` is the action in state `s`.
# Use your `backup`.
# %% tags=["exercise"]
def evaluate(P, R, policy, gamma, sweeps):
    """Values [S] of a policy [S] after so many sweeps."""
    # <solution>
    values = np.zeros(len(policy))
    for _ in range(sweeps):
        values = backup(P, R, values, gamma)[np.arange(len(policy)), policy]
    return values
    # </solution>


evaluate = check("2.2", evaluate)
# %%
always_right = np.full(16, 2)
print("values of going right everywhere:")
print(evaluate(P, R, always_right, gamma, 500).reshape(4, 4).round(3))


# %% [markdown]
# ## The best policy
#
# The best policy takes the best action everywhere, so its values obey $v(s) = \max_a q(s, a)$. That is **Bellman's
# optimality equation**. Sweep again, now with the maximum: this is **value iteration**. Stop when a sweep changes no
# value by more than `tolerance`. The best action in each state is the one with the largest $q(s, a)$.
#
# **Exercise 2.3.** Write value iteration.
# %% tags=["exercise"]
def value_iteration(P, R, gamma, tolerance):
    """(values [S], policy [S]) of the best policy."""
    # <solution>
    values = np.zeros(len(R))
    while True:
        q = backup(P, R, values, gamma)
        new_values = q.max(1)
        if np.abs(new_values - values).max() <= tolerance:
            return new_values, q.argmax(1)
        values = new_values
    # </solution>


value_iteration = check("2.3", value_iteration)
# %%
values, policy = value_iteration(P, R, gamma, 1e-8)
right, planned = (polyak.expected_return(lake, one) for one in (always_right, policy))
print(f"crosses the lake: {right:.1%} by going right, {planned:.1%} as planned")

# %% tags=["result"]
assert 0.73 < planned < 0.75, planned
assert np.allclose(values, polyak.value_iteration(lake, gamma=gamma).values, atol=1e-5)

# %% [markdown]
# ## See the plan
#
# Look at the cell left of the upper hole, in the second row. The best action there is to go *left*, against the wall:
# then no slip can lead into the hole. A plan knows about slipping; you and I tend to forget it.
# %%
figure = Figure(figsize=(11, 4.6), layout="constrained")
left, right = figure.subplots(1, 2)
polyak.draw_values(lake, evaluate(P, R, always_right, gamma, 500), policy=always_right, title="going right", axes=left)
picture = polyak.draw_values(lake, values, policy=policy, title="value iteration", axes=right)
picture

# %% [markdown]
# ## How often must one sweep?
#
# The library plans in four ways, and says how far its values can be from the truth at most (`error_bound`). **Policy
# iteration** evaluates a policy, makes it greedy, and repeats: few rounds, each of them expensive.
# %%
for plan in (polyak.value_iteration, polyak.policy_iteration, polyak.modified_policy_iteration):
    solution = plan(lake, gamma=gamma)
    print(f"{plan.__name__:26} {solution.iterations:4} iterations, error at most {solution.error_bound:.0e}")

# %% [markdown]
# Planning needs two things: the probabilities, and a list of all states. For StarCraft you have neither. The next
# chapter needs nothing but episodes.
#
# ## What a well-known listing gets wrong
#
# Listings of value iteration loop over `env.P[s][a]`, four nested loops in Python, and add `p * (r + gamma * V[s2])`
# for every outcome. They seldom ask whether the outcome ends the episode. On the lake that does no harm, because
# Gymnasium's ends lead to themselves with a reward of 0, and their values stay 0. In a world whose table goes on
# after an end, the values are wrong, and no error tells you. `MDP` marks ends as `terminal`, gives them the value 0,
# and refuses a table in which one state ends only sometimes.
#
# The library's own loop is in
# [algorithms/planning/value_iteration.py](src/polyak/algorithms/planning/value_iteration.py), its backup in
# [envs/mdp.py](src/polyak/envs/mdp.py). Does the real lake agree with the plan? Play it:
# %%
env = gymnasium.make("FrozenLake-v1")
reached = 0.0
for seed in range(300):
    state, _ = env.reset(seed=seed)
    over = False
    while not over:
        state, reward, terminated, truncated, _ = env.step(int(policy[state]))
        over = terminated or truncated
        reached += reward
print(f"planned {planned:.1%}, played {reached / 300:.1%} of 300 episodes")

# %% [markdown]
# Next: `polyak course 3`, in which the probabilities are hidden.
