# %% [markdown]
# # 17. Memory and models
#
# You will write the two things that an agent can add to experience: a memory of what it cannot see now, and a model
# with which it practises in its head.
# %%
import gymnasium
import numpy as np

import polyak
from polyak.course import check


# %% [markdown]
# ## A model: practise in your head
#
# Q-learning uses each step once and forgets it. **Dyna** (Sutton, 1990) remembers what happened: `model[(s, a)]`
# holds the reward, whether the episode ended, and the next state. After each real step it repeats the update of
# Q-learning on some pairs from memory. If steps are expensive and computing is cheap, that is a bargain.
#
# **Exercise 17.1.** Write the practice: one update of Q-learning for each of the `pairs`, in order, each with the
# table that the last one left.
# %% tags=["exercise"]
def practise(q, model, pairs, alpha, gamma):
    """The table [S, A] after one update from the model for each pair (s, a)."""
    # <solution>
    q = q.copy()
    for s, a in pairs:
        reward, terminated, s_next = model[s, a]
        q[s, a] += alpha * (reward + gamma * (1 - terminated) * q[s_next].max() - q[s, a])
    return q
    # </solution>


practise = check("17.1", practise)


# %%
def steps_needed(planning, seed):
    """Steps from the first arrival at the goal of a lake without slipping to the tenth."""
    env, rng = gymnasium.make("FrozenLake-v1", is_slippery=False), np.random.default_rng(seed)
    q, model, arrivals, steps = np.zeros((16, 4)), {}, [], 0
    env.reset(seed=seed)
    while len(arrivals) < 10:
        s, over = env.reset()[0], False
        while not over:
            best = np.flatnonzero(q[s] == q[s].max())
            a = int(rng.integers(4)) if rng.random() < 0.1 else int(rng.choice(best))
            s_next, reward, terminated, truncated, _ = env.step(a)
            model[s, a] = (reward, terminated, s_next)
            known = list(model)
            chosen = [(s, a), *(known[i] for i in rng.integers(len(known), size=planning))]
            q = practise(q, model, chosen, 0.5, 0.95)
            s, over, steps = s_next, terminated or truncated, steps + 1
        if reward:
            arrivals.append(steps)
    return arrivals[-1] - arrivals[0]


for planning in (0, 10):
    needed = [steps_needed(planning, seed) for seed in range(5)]
    print(f"{planning:2} practice updates a step: {np.mean(needed):5.0f} steps from the first arrival to the tenth")


# %% [markdown]
# ## A memory: what cannot be seen
#
# `CartPoleNoVel-v1` hides both speeds. From one look nobody can tell whether the pole is falling or rising. The state
# is no longer in the observation, but it is in the *history*. A **recurrent** network carries a memory $h$ from step
# to step: $h_t = f(h_{t-1}, x_t)$.
#
# One line decides whether it works. A block of steps holds several episodes. The memory of one must not leak into the
# next.
#
# **Exercise 17.2.** Run a memory over a block. `cell(h, x)` gives the next memory. Where `first[t]` is true a new
# episode begins with observation $t$, so the memory is 0 *before* it is read.
# %% tags=["exercise"]
def memories(cell, h, observations, first):
    """[T] the memory after each observation; h is carried in from before."""
    # <solution>
    result = []
    for x, begins in zip(observations, first, strict=True):
        h = cell(0.0 if begins else h, x)
        result.append(h)
    return np.array(result)
    # </solution>


memories = check("17.2", memories)
# %% [markdown]
# A difference of two looks is a speed. The simplest memory is the last observation.
# %%
angles = np.array([0.00, 0.01, 0.03, 0.00, 0.02])
first = np.array([True, False, False, True, False])
last = memories(lambda h, x: x, 0.0, angles, first)
print("remembered:", last)


# %% [markdown]
# A replay memory makes it harder. It holds sequences whose first memory was computed by an old network, and is stale.
# **Burn-in** (Kapturowski et al., 2019) runs the network over the first few steps only to warm the memory up, and
# learns from the rest.
#
# **Exercise 17.3.** Write the mean loss of a batch of sequences, in which the first `burn_in` steps of each do not
# count, nor any step that is padding (`valid` is 0).
# %% tags=["exercise"]
def sequence_loss(losses, valid, burn_in):
    """The mean of losses [B, T] over the steps that count."""
    # <solution>
    counts = valid.astype(float)
    counts[:, :burn_in] = 0
    return (counts * losses).sum() / counts.sum()
    # </solution>


sequence_loss = check("17.3", sequence_loss)
# %% [markdown]
# ## Without the speeds
#
# The same algorithm, with and without a memory. A network's text form says which: `mlp:64:tanh+gru:64` has a gated
# recurrent unit of 64 numbers.
# %% tags=["train"]
remembers = polyak.train("ppo", "CartPoleNoVel-v1", steps=200_000, seeds=1, progress=False)
forgets = polyak.train(
    polyak.PPO(
        learning_rate=1e-3,
        anneal_learning_rate=True,
        n_steps=128,
        n_epochs=8,
        normalize_observation=True,
        normalize_reward=True,
    ),
    "CartPoleNoVel-v1",
    steps=200_000,
    num_envs=16,
    seeds=1,
    progress=False,
)
print("with a memory:   ", remembers.scores)
print("without a memory:", forgets.scores)
polyak.draw_curves([remembers, forgets], labels=["with a memory", "without"])

# %% tags=["result"]
assert remembers.scores.mean > forgets.scores.mean + 50, (remembers.scores, forgets.scores)

# %% [markdown]
# ## Dyna in the taxi
#
# Twenty thousand steps each. Dyna practises five times after every step.
# %% tags=["train"]
exploration = polyak.EpsilonGreedy(0.3, 0.0)
runs = [
    polyak.train(kind, "Taxi-v4", steps=20_000, seeds=3, progress=False)
    for kind in (
        polyak.QLearning(learning_rate=1.0, exploration=exploration),
        polyak.DynaQ(learning_rate=1.0, exploration=exploration, planning_steps=5),
    )
]
for run in runs:
    print(f"{run.about['algorithm']:11} {run.scores}")
picture = polyak.draw_curves(runs)
picture

# %% tags=["result"]
assert runs[1].scores.mean > runs[0].scores.mean, [run.scores for run in runs]

# %% [markdown]
# ## What well-known listings get wrong
#
# - Some reset the memory when the *block* begins and not when the *episode* does, or the other way round.
# - Some train on sequences that start with a memory of zeros in the middle of an episode, without burn-in, and so
#   learn for situations that never occur.
# - Dyna's first paper keeps only what followed *last*. In a world of chance, planning then trusts one draw. The
#   library's model counts how often each state followed, and plans with the mean.
#
# The library: [algorithms/tabular/dyna_q.py](src/polyak/algorithms/tabular/dyna_q.py),
# [parts/networks/recurrent.py](src/polyak/parts/networks/recurrent.py),
# [algorithms/value/recurrent_dqn.py](src/polyak/algorithms/value/recurrent_dqn.py).
#
# Next: `polyak course 18`, with the instruments of the trade.
