# %% [markdown]
# # 7. Cross-entropy
#
# You will write a method that needs no values at all: play many sessions, keep the best, and imitate them. First with
# a table, then with a network.
# %%
import gymnasium
import numpy as np

import polyak
from polyak.course import check


# %% [markdown]
# ## Imitate your own best
#
# The **cross-entropy method** has three lines. Play a round of sessions with the present policy, which is a table of
# probabilities `pi[s, a]`. Keep the best share of them, the **elite**. Make the policy do what the elite did. Repeat.
#
# **Exercise 7.1.** Choose the elite: the sessions whose score is at least the `(1 - share)` quantile of all scores.
# But a session with the *worst* score of all is never elite. (Think of a lake on which nobody has reached the goal
# yet: whom should you imitate?)
# %% tags=["exercise"]
def elite(scores, share):
    """[N] bool: which sessions are imitated; scores is [N]."""
    # <solution>
    bar = np.quantile(scores, 1 - share)
    return (scores >= bar) & (scores > scores.min())
    # </solution>


elite = check("7.1", elite)


# %% [markdown]
# ## Refit by counting
#
# In each state the new probability of an action is how often the elite took it there, divided by how often the elite
# was there. This is the policy under which the elite's choices are most likely. Its name comes from there: it has the
# least **cross-entropy** to them.
#
# Two repairs are needed. Pure counting gives probability 0 to what the elite never did, and it can then never be
# tried again. So imagine a few extra choices of every action: **smoothing**. And in states that the elite never saw,
# keep the policy as it was.
#
# **Exercise 7.2.** Refit the policy. `states` and `actions` list all choices of the elite. Add `smoothing` to every
# count.
# %% tags=["exercise"]
def refit(pi, states, actions, smoothing):
    """[S, A] probabilities: counted where the elite has been, else as before."""
    # <solution>
    counts = np.zeros_like(pi)
    np.add.at(counts, (states, actions), 1)
    seen = counts.sum(1) > 0
    counts += smoothing
    return np.where(seen[:, None], counts / counts.sum(1, keepdims=True), pi)
    # </solution>


refit = check("7.2", refit)


# %% [markdown]
# ## On a lake without slipping
#
# Each round plays 100 sessions. A session scores 1 if it arrives, a little more if it arrives early. The policy moves
# only half of the way to the elite, so that a lucky round does not decide everything.
# %%
def session(env, pi, rng):
    """States, actions, and the score of one session."""
    s, _ = env.reset()
    states, actions = [], []
    while True:
        a = int(rng.choice(len(pi[s]), p=pi[s]))
        states.append(s)
        actions.append(a)
        s, reward, terminated, truncated, _ = env.step(a)
        if terminated or truncated:
            return states, actions, reward * 0.99 ** len(states)


env, rng = gymnasium.make("FrozenLake-v1", is_slippery=False), np.random.default_rng(0)
env.reset(seed=0)
pi = np.full((16, 4), 0.25)
for round_number in range(1, 11):
    sessions = [session(env, pi, rng) for _ in range(100)]
    scores = np.array([score for _, _, score in sessions])
    chosen = [one for one, is_elite in zip(sessions, elite(scores, 0.25), strict=True) if is_elite]
    if chosen:
        states, actions = (np.concatenate([one[part] for one in chosen]) for part in (0, 1))
        pi = 0.5 * pi + 0.5 * refit(pi, states, actions, smoothing=0.1)
    if round_number in (1, 2, 3, 5, 10):
        print(f"round {round_number:2}: {np.mean(scores > 0):4.0%} of the sessions arrive")

# %%
lake = polyak.MDP.from_gymnasium("FrozenLake-v1", is_slippery=False)
polyak.draw_values(lake, policy=pi, title="the policy, learnt without values")

# %% [markdown]
# ## Taxi, and how the elite improves
#
# `Taxi-v4` has 500 states, and a session without a plan scores about -770. The library plays 1,000 sessions at once.
# The elite's bar rises from round to round; 7.9 is the best there is on average.
# %% tags=["train"]
run = polyak.train("tabular-cem", "Taxi-v4", seeds=1, progress=False)
print(run.scores)
polyak.draw_curves(run, "elite_return")

# %% tags=["result"]
assert run.scores.mean > 6, run.scores

# %% [markdown]
# ## With a network
#
# On the pole there is no table to count in. A network that gives probabilities takes its place, and a few gradient
# steps on the elite's choices take the place of counting. The loss is the cross-entropy between what the elite did
# and what the policy would do.
# %% tags=["train"]
run = polyak.train("deep-cem", "CartPole-v1", seeds=1, progress=False)
print(run.scores)
run.plot()

# %% tags=["result"]
assert run.scores.mean > 400, run.scores

# %% [markdown]
# ## What well-known listings get wrong
#
# - Notebooks choose `scores >= quantile`. While nobody has reached the goal, *all* sessions have the same score and
#   all are elite, so that the method imitates its own failures with zeal. With the rule of exercise 7.1 nothing
#   happens until one arrives.
# - Where chance decides, as on the slippery lake, the best sessions are the lucky ones, and imitating luck teaches
#   little. The method compares sessions, not actions. If that matters, use a method with values.
# - A policy that is refitted from scratch each round can lose in one round what it learnt in ten, if a lucky elite
#   comes up. Move a part of the way.
#
# | | score |
# |---|---|
# | a table on Taxi-v4, `polyak train tabular-cem Taxi-v4` | 8.04 (mean of five seeds) |
# | a network on CartPole-v1, `polyak train deep-cem CartPole-v1` | 499.4 (mean of ten seeds) |
#
# The library: [algorithms/tabular/tabular_cem.py](src/polyak/algorithms/tabular/tabular_cem.py),
# [algorithms/search/deep_cem.py](src/polyak/algorithms/search/deep_cem.py).
#
# Next: `polyak course 8`, in which values return, without a table.
