# %% [markdown]
# # 1. Worlds
#
# You will write the loop in which an agent meets its world, the return that it wants to be large, and the difference
# between an episode that ends and one that is cut by a clock.
#
# Every chapter has the same form. You read a few short cells, you replace three dots by your code, and you run the
# cell: `check` answers in one sentence. If your answer is wrong, or missing, `check` hands back the right function,
# so that the rest of the notebook works all the same. A solution is folded away below each exercise.
# %%
import gymnasium
import numpy as np
from matplotlib.figure import Figure

import polyak
from polyak.course import check

# %% [markdown]
# ## An agent and its world
#
# An **environment** is a world that takes actions. At each step the **agent** sees an **observation**, chooses an
# **action**, and gets a **reward**, which is one number. Then it sees the next observation. Nothing else passes
# between them.
#
# `CartPole-v1` is such a world. A pole stands on a cart. An observation is four numbers: the place of the cart, its
# speed, the angle of the pole, and its angular speed. Action 0 pushes the cart to the left, action 1 to the right.
# Each step earns a reward of 1, so the agent should keep the pole up.
# %%
env = gymnasium.make("CartPole-v1")
observation, info = env.reset(seed=0)
print("first observation:", observation)
observation, reward, terminated, truncated, info = env.step(1)
print("after a push to the right:", observation)
print("reward", reward, "terminated", terminated, "truncated", truncated)


# %% [markdown]
# ## What the agent wants
#
# From one step on, the rewards are $r_1, r_2, r_3, \dots$ Their sum is the **return**. Often a reward counts less the
# later it comes: it is multiplied by the **discount** $\gamma$, a number between 0 and 1, once for every step of
# waiting.
#
# $$g = r_1 + \gamma r_2 + \gamma^2 r_3 + \dots = r_1 + \gamma\,(r_2 + \gamma\,(r_3 + \dots))$$
#
# The second form is the one to program. Begin at the last reward and go backwards: `g = reward + gamma * g`.
#
# A world whose future depends on nothing but the present state and the action is a **Markov decision process**, an
# MDP. If you know its probabilities you can plan (chapter 2). If you do not, you must try things out (all chapters
# from 3 on).
#
# **Exercise 1.1.** Write the discounted return of a list of rewards.
# %% tags=["exercise"]
def discounted_return(rewards, gamma):
    """rewards[0] + gamma rewards[1] + gamma^2 rewards[2] + ..."""
    # <solution>
    g = 0.0
    for reward in reversed(rewards):
        g = reward + gamma * g
    return g
    # </solution>


discounted_return = check("1.1", discounted_return)
# %% [markdown]
# With $\gamma = 0.99$ a pole that stands for ever is worth 100, because $1 + \gamma + \gamma^2 + \dots = 1 / (1 -
# \gamma)$. Rewards that come later than that many steps hardly count. So $1 / (1 - \gamma)$ is how far an agent looks
# ahead.
# %%
for steps in (10, 100, 500, 5_000):
    print(f"{steps:5} steps: {discounted_return([1.0] * steps, 0.99):6.2f}")


# %% [markdown]
# ## An end is not a time limit
#
# A step can close an episode in two ways, and Gymnasium tells them apart.
#
# - `terminated`: the world has ended. The pole fell. Nothing follows, so what follows is worth 0.
# - `truncated`: somebody looked at a clock and stopped. `CartPole-v1` stops after 500 steps, `CartPole-v0` after 200.
#   The pole still stands, and what would follow is worth as much as before.
#
# "Why does my agent never get more than 200?" is a question that readers of a well-known tutorial ask. This is why:
# the clock of `CartPole-v0` stops there. It is the best score, not a failure.
#
# An agent that learns needs an estimate of the return: the reward, and the discounted value of the next state, but
# only if something follows. This is called the **target**.
#
# **Exercise 1.2.** Write the target for one step.
# %% tags=["exercise"]
def target(reward, terminated, truncated, next_value, gamma):
    """The reward, and what the next state is worth, discounted, if anything can follow."""
    # <solution>
    return reward + gamma * (1 - terminated) * next_value
    # </solution>


target = check("1.2", target)


# %% [markdown]
# **Exercise 1.3.** Write the loop. Play one episode and return two things: the sum of the rewards, not discounted,
# and whether the episode terminated. `policy(observation)` gives an action. The episode is over if it terminated
# **or** was truncated.
# %% tags=["exercise"]
def play(env, policy, seed):
    """(sum of rewards, terminated) of one episode."""
    # <solution>
    observation, _ = env.reset(seed=seed)
    total = 0.0
    while True:
        observation, reward, terminated, truncated, _ = env.step(policy(observation))
        total += reward
        if terminated or truncated:
            return total, terminated
    # </solution>


play = check("1.3", play)
# %% [markdown]
# ## Three policies by hand
#
# A **policy** is a rule that says what to do. Here are three for the pole. The first looks at nothing. The second
# pushes towards the side to which the pole leans. The third looks at the angular speed too, and so acts before it is
# too late.
# %%
policies = {
    "always right": lambda observation: 1,
    "where it leans": lambda observation: int(observation[2] > 0),
    "where it will lean": lambda observation: int(observation[2] + 0.2 * observation[3] > 0),
}
for name, policy in policies.items():
    episodes = [play(env, policy, seed) for seed in range(20)]
    returns = [total for total, _ in episodes]
    fell = sum(terminated for _, terminated in episodes)
    print(f"{name:19} mean return {np.mean(returns):5.1f}, fell in {fell} of 20 episodes")

# %% tags=["result"]
scores = {name: np.mean([play(env, policy, seed)[0] for seed in range(20)]) for name, policy in policies.items()}
assert scores["always right"] < 15 < scores["where it leans"] < 80 < scores["where it will lean"], scores

# %% [markdown]
# ## A world that you can see whole
#
# The pole has endlessly many states. A grid has a few, and polyak can draw what a policy does there. Here `S` is the
# start, `G` the goal, which earns 1, and `H` are holes, which end the episode and earn nothing. The actions are 0
# left, 1 down, 2 right, 3 up.
# %%
grid = polyak.MDP.from_grid(["S...", ".H.H", "...H", "H..G"], id="lake", max_episode_steps=30)
down_first = np.array([1, 2, 2, 0, 1, 0, 1, 0, 2, 2, 1, 0, 0, 2, 2, 0])  # one action for each of the 16 cells
right_first = np.array([2, 2, 1, 0, 1, 0, 1, 0, 2, 1, 1, 0, 0, 2, 2, 0])
around = np.array([0] * 16)  # runs against the wall until the clock stops it

figure = Figure(figsize=(12, 4), layout="constrained")
for axes, (name, policy) in zip(
    figure.subplots(1, 3), [("down first", down_first), ("right first", right_first), ("left", around)], strict=True
):
    picture = polyak.draw_path(grid, policy, title=name, axes=axes)
picture

# %% [markdown]
# The first two reach the goal in six steps, so with $\gamma = 0.9$ they are worth $0.9^5 = 0.59$ from the start. The
# third never ends: it is *cut* after thirty steps. `expected_return` computes what a policy earns in an episode,
# exactly.
# %%
for name, policy in {"down first": down_first, "right first": right_first, "left": around}.items():
    print(f"{name:12} {polyak.expected_return(grid, policy):.2f}")

# %% [markdown]
# ## What a well-known listing gets wrong
#
# A course prints a learner for the pole and for `MountainCar-v0` with this line: `reward = reward if not done else
# -10`. It was written when Gym gave one flag for both ways to stop. On the pole it punishes the agent for standing
# until the clock stops. On the mountain every episode is cut after 200 steps, so that the place where the car happens
# to be is punished. Old code also set the value of the next state to 0 at a time limit; your exercise 1.2 does not.
#
# polyak keeps the two flags apart everywhere, and one equation uses them: `discount` in
# [ops/td.py](src/polyak/ops/td.py).
#
# ## Check a world of your own
#
# Before you train on a world, look for mistakes in it. `polyak.check` plays it with random actions and tells what is
# wrong.
# %% tags=["train"]
print(polyak.check("CartPole-v1"))
# %% [markdown]
# Next: `polyak course 2`, in which you plan in a world whose probabilities you know.
