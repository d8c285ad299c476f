# %% [markdown]
# # 10. Beyond DQN
#
# You will write the three best-known improvements of DQN, each of which is a few lines: double targets, a dueling
# network, and prioritised replay with its tree and its weights.
# %%
import numpy as np
from matplotlib.figure import Figure

import polyak
from polyak.course import check


# %% [markdown]
# ## The maximum is too large
#
# DQN's target takes the maximum of estimates. Estimates are noisy, and the maximum of noisy numbers is larger than
# the largest true one: it picks whatever was overestimated. **Double Q-learning** (van Hasselt et al., 2016) lets the
# network choose the action and the target network say what it is worth. Two errors are seldom the same.
#
# $$y = r + \gamma\, q_\text{target}\big(s', \text{argmax}_{a'} q(s', a')\big)$$
#
# **Exercise 10.1.** Write double targets for a batch.
# %% tags=["exercise"]
def double_targets(reward, terminated, q_next, q_next_target, gamma):
    """[B] targets; q_next [B, A] is of the network, q_next_target [B, A] of the target network."""
    # <solution>
    best = q_next.argmax(1)
    return reward + gamma * (1 - terminated) * q_next_target[np.arange(len(best)), best]
    # </solution>


double_targets = check("10.1", double_targets)
# %% [markdown]
# See it: all actions are worth exactly 0, and estimates have errors of deviation 1. The target should be 0.
# %%
rng, counts = np.random.default_rng(0), [2, 4, 8, 16, 32]
single, double = [], []
for actions in counts:
    first, second = rng.normal(size=(2, 2_000, actions))
    nothing = np.zeros(2_000)
    single.append(first.max(1).mean())
    double.append(double_targets(nothing, nothing, first, second, 1.0).mean())
figure = Figure(figsize=(5, 3.2), layout="constrained")
axes = figure.subplots()
names = [str(count) for count in counts]
axes.plot(names, single, "o-", label="maximum")
axes.plot(names, double, "o-", label="double")
axes.set(xlabel="actions", ylabel="mean target; 0 is right")
axes.legend(frameon=False)
polyak.Picture(figure)

# %% tags=["result"]
assert abs(double[-1]) < 0.1 < single[0] < single[-1]


# %% [markdown]
# ## Dueling
#
# In many states it does not matter what you do. A **dueling** network (Wang et al., 2016) has two heads: the value of
# the state, and the **advantage** of each action over the others. Values are then learnt from every action.
#
# $$q(s, a) = v(s) + A(s, a) - \frac{1}{|A|} \sum_{b} A(s, b)$$
#
# The mean is taken off because otherwise a constant could move between the heads unnoticed.
#
# **Exercise 10.2.** Write the sum for a batch.
# %% tags=["exercise"]
def dueling(value, advantage):
    """[B, A] action-values from value [B, 1] and advantage [B, A]."""
    # <solution>
    return value + advantage - advantage.mean(1, keepdims=True)
    # </solution>


dueling = check("10.2", dueling)


# %% [markdown]
# ## Prioritised replay
#
# Why replay steps that are well predicted? **Prioritised replay** (Schaul et al., 2016) draws a step with a
# probability in proportion to $|\delta|^\alpha$, the error it had last. To draw one of a million numbers in
# proportion to its size, use a **sum tree**: every node holds the sum of its two children, and the leaves are the
# priorities. Draw a number between 0 and the total, and go down from the root. Go left if the number is smaller than
# the left child; otherwise take the left child off the number and go right.
#
# Here is a tree with 8 leaves as an array: node 1 is the root, the children of node `i` are `2 * i` and `2 * i + 1`,
# and the leaves are the nodes 8 to 15.
#
# **Exercise 10.3.** Find the leaf, 0 to 7, that a number falls on.
# %% tags=["exercise"]
def find(tree, number):
    """The leaf 0 to 7 of a tree [16]."""
    # <solution>
    node = 1
    while node < 8:
        node = 2 * node
        if number >= tree[node]:
            number -= tree[node]
            node += 1
    return node - 8
    # </solution>


find = check("10.3", find)
# %%
tree = np.zeros(16)
tree[8:] = [1, 0, 4, 0, 2, 0, 0, 1]
for node in range(7, 0, -1):
    tree[node] = tree[2 * node] + tree[2 * node + 1]
drawn = [find(tree, number) for number in np.random.default_rng(0).uniform(0, tree[1], 8_000)]
print("priorities", tree[8:], "drawn", np.bincount(drawn, minlength=8) / 1_000)


# %% [markdown]
# ## Put it right again
#
# Steps that are drawn more often count more often, so the mean error is no longer that of the memory. **Importance
# weights** undo this: each drawn step counts $w_i = (N P_i)^{-\beta}$, where $P_i$ is its probability and $N$ the
# number of steps in the memory. Dividing by the largest weight of the batch keeps updates small. $\beta$ grows to 1
# as learning ends.
#
# **Exercise 10.4.** Write the weights.
# %% tags=["exercise"]
def importance_weights(probability, size, beta):
    """[B] weights, the largest of which is 1."""
    # <solution>
    weights = (size * probability) ** -beta
    return weights / weights.max()
    # </solution>


importance_weights = check("10.4", importance_weights)
# %% [markdown]
# ## All together
#
# In the library `double` is a setting, and the other two are parts that are passed in. The other settings are those
# of the preset for DQN on the pole. `Rainbow` adds three more improvements: distributions of returns, several steps
# of looking ahead, and noise in the network's layers instead of $\varepsilon$.
# %% tags=["train"]
all_three = polyak.DQN(
    double=True,
    network=polyak.Dueling(hidden=(128, 128), activation="relu", layer_norm=True),
    replay=polyak.Prioritised(),
    learning_rate=1e-3,
    anneal_learning_rate=True,
    batch_size=64,
    buffer_size=20_000,
    train_freq=4,
    gradient_steps=8,
    n_steps=5,
    huber_delta=100.0,
    tau=0.05,
    target_update_interval=4,
    exploration_fraction=0.2,
    exploration_final_eps=0.04,
)
run = polyak.train(all_three, "CartPole-v1", steps=50_000, seeds=2, progress=False)
print(run.scores)
run.plot()

# %% tags=["result"]
assert run.scores.mean > 450, run.scores

# %% [markdown]
# All three together reach 500 on these two seeds. Plain DQN with these settings reaches 500 on ten seeds too. The
# pole has two actions, so the maximum hardly overestimates. The improvements were made for Atari, with up to 18
# actions and millions of steps. And two seeds prove nothing: compare on ten before you believe.
#
# ## What well-known listings get wrong
#
# A course prints all three, and each has a flaw that no error message shows.
#
# - **Dueling** takes the mean of the advantages over the whole *batch*. Then the value of a state depends on which
#   other states happen to be in the batch. It must be the mean over the actions of the same state (exercise 10.2).
# - **Prioritised replay** has no importance weights and no $\beta$. What it learns is then biased towards what
#   surprises it, which in a noisy world is noise.
# - **Double** targets are right there. The target network is copied in the constructor, and after that only when it
#   is told to. If you forget to tell it, it stays at its random start.
#
# The library: `double_q_learning` in [ops/td.py](src/polyak/ops/td.py), `DuelingHeads` in
# [parts/networks/perceptrons.py](src/polyak/parts/networks/perceptrons.py), a tree with 32 children a node in
# [parts/sum_tree.py](src/polyak/parts/sum_tree.py), and the weights in
# [parts/sampling.py](src/polyak/parts/sampling.py).
#
# Next: `polyak course 11`, in which observations are images.
