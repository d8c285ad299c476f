# %% [markdown]
# # 3. Sampling
#
# You will estimate values from episodes alone, in the two ways that the whole subject is built on: Monte Carlo, which
# waits for the end, and temporal differences, which learn from each step.
# %%
import itertools

import numpy as np
from matplotlib.figure import Figure

import polyak
from polyak.course import check


# %% [markdown]
# ## Without a model
#
# In chapter 2 the probabilities were known. From now on you see nothing but what happens: a state, a reward, the next
# state. A method that works so is called **model-free**.
#
# This chapter asks for less than the best policy. A policy is given, and you want the values of the states under it.
# That is called **prediction**.
#
# Our world is a row of five states, A to E. Each step goes left or right by the toss of a coin. Falling off the right
# end earns 1, falling off the left end earns 0. There is no discount. The true values are the chances to end on the
# right: 1/6, 2/6, 3/6, 4/6, 5/6.
# %%
def walk(rng):
    """One episode: the states 0 to 4 that were visited, and the reward at the end."""
    states = [2]
    while 0 <= states[-1] <= 4:
        states.append(states[-1] + rng.choice([-1, 1]))
    return states[:-1], float(states[-1] == 5)


states, reward = walk(np.random.default_rng(1))
print("visited", "".join("ABCDE"[s] for s in states), "and earned", reward)
TRUTH = np.arange(1, 6) / 6


# %% [markdown]
# ## Monte Carlo: wait, then learn
#
# After an episode you know the return $g$ that followed each of its states. Move the value of the state towards it,
# by a share $\alpha$ of the difference, the **step size**:
#
# $$v(s) \leftarrow v(s) + \alpha\,(g - v(s))$$
#
# **Exercise 3.1.** Update the values after one episode. There is a list of states, the list of the rewards that
# followed each of them, and a discount. Compute the return of each step with the values as they were when the episode
# ended, and correct each visit, the last one first.
# %% tags=["exercise"]
def monte_carlo(values, states, rewards, alpha, gamma):
    """Values [S] after an episode: states[i] was followed by rewards[i]."""
    # <solution>
    values, g = values.copy(), 0.0
    for state, reward in zip(reversed(states), reversed(rewards), strict=True):
        g = reward + gamma * g
        values[state] += alpha * (g - values[state])
    return values
    # </solution>


monte_carlo = check("3.1", monte_carlo)


# %% [markdown]
# ## Temporal differences: learn from each step
#
# Why wait? After one step there is a better guess of the return already: the reward, and the value of the next state.
# To learn a guess from a guess is called **bootstrapping**. The difference is the **TD error**:
#
# $$\delta = r + \gamma\, v(s') - v(s) \qquad v(s) \leftarrow v(s) + \alpha\, \delta$$
#
# If $s'$ ended the episode, nothing follows, and $v(s')$ counts as 0. You wrote that in exercise 1.2. Forgetting it
# is the most common error in code of this kind.
#
# **Exercise 3.2.** Update the values after one step.
# %% tags=["exercise"]
def temporal_difference(values, state, reward, terminated, next_state, alpha, gamma):
    """Values [S] after one step from state to next_state."""
    # <solution>
    values = values.copy()
    error = reward + gamma * (1 - terminated) * values[next_state] - values[state]
    values[state] += alpha * error
    return values
    # </solution>


temporal_difference = check("3.2", temporal_difference)


# %% [markdown]
# ## Side by side
#
# This is example 6.2 of Sutton and Barto's book. All values begin at 0.5. We run both methods on the same episodes
# and measure how far the values are from the truth, averaged over many repetitions.
# %%
def learn(method, alpha, episodes, repetitions):
    """The mean error after each episode."""
    errors = np.zeros(episodes)
    for repetition in range(repetitions):
        rng, values = np.random.default_rng(repetition), np.full(5, 0.5)
        for episode in range(episodes):
            states, reward = walk(rng)
            if method == "monte carlo":
                values = monte_carlo(values, states, [0.0] * (len(states) - 1) + [reward], alpha, 1.0)
            else:
                for state, next_state in itertools.pairwise(states):
                    values = temporal_difference(values, state, 0.0, False, next_state, alpha, 1.0)
                values = temporal_difference(values, states[-1], reward, True, 0, alpha, 1.0)
            errors[episode] += np.sqrt(np.mean((values - TRUTH) ** 2)) / repetitions
    return errors


figure = Figure(figsize=(7, 4), layout="constrained")
axes = figure.subplots()
for method, alpha, colour in [("monte carlo", 0.02, "C1"), ("temporal difference", 0.1, "C0")]:
    errors = learn(method, alpha, episodes=100, repetitions=20)
    axes.plot(errors, color=colour, label=f"{method}, step size {alpha}")
axes.set(xlabel="episodes", ylabel="error, mean of 20 repetitions", ylim=(0, None))
axes.legend(frameon=False)
polyak.Picture(figure)

# %% tags=["result"]
assert learn("temporal difference", 0.1, 40, 20)[-1] < learn("monte carlo", 0.02, 40, 20)[-1]

# %% [markdown]
# Temporal differences are quicker here. They use that states are linked: what was learnt about D tells something
# about C. Monte Carlo does not care about links, so it is right also where the state does not tell everything.
#
# They differ in one more way. A Monte Carlo return has no bias, but much noise: it adds up the chances of a whole
# episode. A TD error has little noise, but it is wrong as long as the next value is wrong. Most methods that you will
# meet lie between these two; chapter 14 has a dial for it.
#
# ## On the lake
#
# The library has both as algorithms, and many more between them: `n-step-td`, `td-lambda`, `lambda-return`. Here they
# learn what the plan of chapter 2 is worth in every cell, without ever seeing a probability. The exact values stand
# beside them.
# %% tags=["train"]
lake = polyak.MDP.from_gymnasium("FrozenLake-v1")
plan = polyak.value_iteration(lake, gamma=0.99)
given = polyak.TabularPolicy(plan.policy)
figure = Figure(figsize=(15, 4.6), layout="constrained")
places = figure.subplots(1, 3)
polyak.draw_values(lake, plan.values, policy=plan.policy, title="exact", axes=places[0])
learners = [
    polyak.MonteCarloPrediction(policy=given, gamma=0.99),
    polyak.TD(policy=given, gamma=0.99, learning_rate=polyak.StepSize(0.5, 0.01)),
]
for axes, learner in zip(places[1:], learners, strict=True):
    run = polyak.train(learner, lake, steps=200_000, progress=False, processes=0)
    values = run.policy().tables["v"]
    met = ~lake.terminal
    title = f"{learner.name}: error {np.sqrt(np.mean((values - plan.values)[met] ** 2)):.3f}"
    picture = polyak.draw_values(lake, values, policy=plan.policy, title=title, axes=axes)
picture

# %% [markdown]
# ## What well-known listings get wrong
#
# - A listing stops when `done` is true and throws the last reward away. On the lake that is the only reward there is.
#   Your exercise 3.1 pairs each state with the reward that *followed* it.
# - Slides write the TD target as $r + \gamma v(s')$ and leave the end to the reader. In code, $v$ of the last state
#   is then whatever lies in the table. It stays 0 in a table that began with zeros. It does not in the one above,
#   which began with 0.5, and never with a network.
#
# The library's updates: [ops/td.py](src/polyak/ops/td.py), `td_learning`, and
# [ops/returns.py](src/polyak/ops/returns.py), `discounted`.
#
# Next: `polyak course 4`, in which the agent chooses for itself.
