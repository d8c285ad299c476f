# %% [markdown]
# # 5. The cliff
#
# You will write SARSA and expected SARSA, and see two agents learn two ways along a cliff, because one of them knows
# that it will stumble.
# %%
import gymnasium
import numpy as np
from matplotlib.figure import Figure

import polyak
from polyak.course import check


# %% [markdown]
# ## The world
#
# `CliffWalking-v1` is a grid of four rows and twelve columns. The start is at the lower left, the goal at the lower
# right, and the cells between them are a cliff. Each step costs 1. A fall costs 100 and leads back to the start. The
# shortest way runs along the edge: 13 steps, a return of -13.
#
# Q-learning learns what the *best* policy would earn. But while it learns, the agent does not follow the best policy.
# It explores, and along the edge one random step is a fall. **SARSA** learns what the policy earns that is really
# followed, stumbling included. Its name lists what it needs: state, action, reward, next state, **next action**.
#
# $$\delta = r + \gamma\, q(s', a') - q(s, a)$$
#
# Here $a'$ is the action that the agent will take in $s'$, be it good or random. A method that learns about the
# policy it follows is called **on-policy**. Q-learning is **off-policy**.
#
# **Exercise 5.1.** Write the TD error of SARSA.
# %% tags=["exercise"]
def sarsa_error(q, s, a, reward, terminated, s_next, a_next, gamma):
    """The error of q[s, a], with the action a_next that will be taken in s_next."""
    # <solution>
    return reward + gamma * (1 - terminated) * q[s_next, a_next] - q[s, a]
    # </solution>


sarsa_error = check("5.1", sarsa_error)


# %% [markdown]
# ## Why toss the coin, if you know it?
#
# SARSA uses one random next action, which adds noise. But the agent knows its own probabilities: with epsilon-greedy
# each of $n$ actions has $\varepsilon / n$, and the best one has $1 - \varepsilon$ more.
#
# **Exercise 5.2.** Write the probabilities of an epsilon-greedy policy for one row of the table. If several are best,
# take the first of them.
# %% tags=["exercise"]
def probabilities(q_row, epsilon):
    """[A] the probability of each action."""
    # <solution>
    pi = np.full(len(q_row), epsilon / len(q_row))
    pi[np.argmax(q_row)] += 1 - epsilon
    return pi
    # </solution>


probabilities = check("5.2", probabilities)


# %% [markdown]
# **Expected SARSA** takes the mean over all next actions, weighted by these probabilities:
#
# $$\delta = r + \gamma \sum_{a'} \pi(a' \mid s')\, q(s', a') - q(s, a)$$
#
# **Exercise 5.3.** Write its TD error, with your `probabilities`. (What does it become for $\varepsilon = 0$?)
# %% tags=["exercise"]
def expected_sarsa_error(q, s, a, reward, terminated, s_next, epsilon, gamma):
    """The error of q[s, a], with the mean over the actions of an epsilon-greedy policy in s_next."""
    # <solution>
    mean = probabilities(q[s_next], epsilon) @ q[s_next]
    return reward + gamma * (1 - terminated) * mean - q[s, a]
    # </solution>


expected_sarsa_error = check("5.3", expected_sarsa_error)
# %% [markdown]
# ## Two ways
#
# One loop serves both learners. The agent chooses its next action before it learns, so that SARSA can use it.
# %%
EPSILON = 0.1


def learn(method, episodes, alpha, seed=0):
    """A table, and the return of each episode."""
    rng, env = np.random.default_rng(seed), gymnasium.make("CliffWalking-v1")
    q, returns = np.zeros((48, 4)), []
    for episode in range(episodes):
        s, _ = env.reset(seed=seed + episode)
        a, total, over = rng.choice(4, p=probabilities(q[s], EPSILON)), 0.0, False
        while not over:
            s_next, reward, terminated, truncated, _ = env.step(int(a))
            a_next = rng.choice(4, p=probabilities(q[s_next], EPSILON))
            if method == "sarsa":
                error = sarsa_error(q, s, a, reward, terminated, s_next, a_next, 1.0)
            else:  # expected SARSA of the greedy policy, which is Q-learning
                error = expected_sarsa_error(q, s, a, reward, terminated, s_next, 0.0, 1.0)
            q[s, a] += alpha * error
            s, a, total, over = s_next, a_next, total + reward, terminated or truncated
        returns.append(total)
    return q, np.array(returns)


learnt = {method: learn(method, episodes=300, alpha=0.5) for method in ("sarsa", "q-learning")}
for method, (_, returns) in learnt.items():
    print(f"{method:10} earns {returns[-150:].mean():6.1f} an episode while it learns")

# %% [markdown]
# Q-learning finds the shorter way and earns *less*, because it keeps falling from it. SARSA goes a row or two higher.
# If $\varepsilon$ decayed to 0, both would end on the edge.
# %%
cliff = polyak.MDP.from_gymnasium("CliffWalking-v1")
figure = Figure(figsize=(14, 6.5), layout="constrained")
for axes, (method, (q, _)) in zip(figure.subplots(2, 1), learnt.items(), strict=True):
    picture = polyak.draw_path(cliff, q.argmax(1), behind=q, max_steps=40, title=method, axes=axes)
picture

# %% tags=["result"]
late = {method: returns[-150:].mean() for method, (_, returns) in learnt.items()}
assert late["sarsa"] > late["q-learning"] + 5, late

# %% [markdown]
# ## On many seeds
#
# Here are the library's learners on ten seeds each. The curves are of episodes while learning, exploration included.
# The printed scores are of the final policies, without it. The world and these policies leave nothing to chance, so
# one episode of each is enough.
# %% tags=["train"]
expected = polyak.ExpectedSARSA(learning_rate=polyak.StepSize(0.5, 0.01), gamma=1.0)
runs = [
    polyak.train(one, "CliffWalking-v1", steps=20_000, seeds=10, final_episodes=1, progress=False)
    for one in ("sarsa", expected, "q-learning")
]
for run in runs:
    print(f"{run.about['algorithm']:14} {run.scores}")
picture = polyak.draw_curves(runs)
picture.figure.axes[0].set_ylim(-120, 0)
picture

# %% tags=["result"]
assert runs[2].scores.mean == -13, runs[2].scores
assert runs[0].scores.mean == -17, runs[0].scores

# %% [markdown]
# ## What well-known listings get wrong
#
# - A workshop draws its cliff with a gutter that costs 10, and runs Gymnasium's, where a fall costs 100. Both ways
#   exist in both worlds, but with a cost of 10 the risk is worth taking more often. Read the rewards, not the
#   picture.
# - `CliffWalking-v1` has no time limit. A learner whose policy runs into a wall goes on for ever. Listings that
#   evaluate greedily in the middle of learning hang. polyak cuts such episodes and counts them as cut.
# - The next action must be the one that is then *taken*. A listing that draws `a_next` for the update, and draws
#   again for the step, is neither SARSA nor Q-learning.
#
# The library: [ops/td.py](src/polyak/ops/td.py) has the three errors side by side,
# [algorithms/tabular/sarsa.py](src/polyak/algorithms/tabular/sarsa.py) the algorithm.
#
# Next: `polyak course 6`, in which the agent plays against itself.
