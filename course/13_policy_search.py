# %% [markdown]
# # 13. Policy search
#
# You will search for policies without any gradient: by climbing, with a simplex, and with an evolution strategy; and
# watch them walk over the landscape of a task.
# %%
import gymnasium
import numpy as np

import polyak
from polyak.course import check

# %% [markdown]
# ## A policy is a point
#
# A linear policy for the pole has four weights: push right where $w \cdot s > 0$. It is a point in a space of four
# dimensions, and its return is a height. Forget states, values and gradients: try points, and keep the high ones.
# %%
env = gymnasium.make("CartPole-v1")


def height(w, seed=0, episodes=3):
    """The mean return of the policy with weights w."""
    total = 0.0
    for number in range(episodes):
        observation, over = env.reset(seed=seed + number)[0], False
        while not over:
            observation, reward, terminated, truncated, _ = env.step(int(w @ observation > 0))
            total, over = total + reward, terminated or truncated
    return total / episodes


tried = [height(w) for w in np.random.default_rng(0).normal(size=(30, 4))]
print("thirty random policies earn between", min(tried), "and", max(tried))


# %% [markdown]
# Some of them balance at once: this task is easier than it looks. Random search is the first thing to compare with.
#
# ## Climb
#
# **Hill climbing** stands at a point and tries a neighbour. It moves if that is *at least as good*. It looks farther
# after a success, and nearer after a failure.
#
# **Exercise 13.1.** Write one step. `height_of(w)` gives the height. Move if the neighbour is at least as high.
# Double `sigma` after a move, and halve it otherwise.
# %% tags=["exercise"]
def climb(w, score, sigma, noise, height_of):
    """(w, score, sigma) after trying the neighbour w + sigma noise; score is the height of w."""
    # <solution>
    neighbour = w + sigma * noise
    reached = height_of(neighbour)
    if reached >= score:
        return neighbour, reached, 2 * sigma
    return w, score, sigma / 2
    # </solution>


climb = check("13.1", climb)
# %%
rng, w, sigma = np.random.default_rng(2), np.zeros(4), 0.5
best = height(w)
for _ in range(15):
    w, best, sigma = climb(w, best, sigma, rng.normal(size=4), height)
    sigma = np.clip(sigma, 0.01, 2.0)
print("after 15 tries:", best, "with weights", w.round(2))


# %% [markdown]
# ## A simplex
#
# Nelder and Mead (1965) keep $D + 1$ points in $D$ dimensions, a **simplex**: in a plane, a triangle. The worst point
# is mirrored through the middle of the others, in the hope that up is opposite to down.
#
# **Exercise 13.2.** Write the mirrored point.
# %% tags=["exercise"]
def reflection(points, scores):
    """The worst of the points [D + 1, D], mirrored through the mean of the others; a larger score is better."""
    # <solution>
    worst = np.argmin(scores)
    middle = np.delete(points, worst, axis=0).mean(0)
    return 2 * middle - points[worst]
    # </solution>


reflection = check("13.2", reflection)


# %% [markdown]
# ## A gradient without a derivative
#
# An **evolution strategy** (Salimans et al., 2017) tries many neighbours $w + \sigma \epsilon_i$ and moves towards
# those that did well. The mean of noise times score is a gradient, of the landscape blurred by $\sigma$:
#
# $$\nabla J \approx \frac{1}{n \sigma} \sum_i F_i\, \epsilon_i$$
#
# Only the order of the scores should matter, so they are replaced by their **ranks**, from $-\tfrac12$ for the worst
# to $\tfrac12$ for the best.
#
# **Exercise 13.3.** Write the estimate, with ranks in place of scores. No two scores are equal.
# %% tags=["exercise"]
def evolution_gradient(noise, scores, sigma):
    """[D] the estimate, from noise [n, D] and the scores [n] of the members w + sigma noise."""
    # <solution>
    ranks = np.argsort(np.argsort(scores)) / (len(scores) - 1) - 0.5
    return ranks @ noise / (len(scores) * sigma)
    # </solution>


evolution_gradient = check("13.3", evolution_gradient)
# %%
rng, w = np.random.default_rng(0), np.zeros(4)
for generation in range(4):
    noise = rng.normal(size=(16, 4))
    scores = np.array([height(w + 0.5 * one, episodes=1) for one in noise]) + 1e-6 * rng.random(16)
    w = w + 2.0 * evolution_gradient(noise, scores, 0.5)
    print(f"generation {generation + 1}: mean score {scores.mean():5.1f}, best {scores.max():5.1f}")

# %% [markdown]
# ## The landscape
#
# With two parameters one can see it. A car with an engine that is too weak must swing up a mountain,
# `MountainCarContinuous-v0`; its push is $x_1$ times its place plus $x_2$ times its speed. Bright is good. Much of
# the landscape is flat: there the car does not arrive. All four searches begin at the same point.
# %% tags=["train"]
landscape = polyak.draw_landscape(
    polyak.linear_policy_score(polyak.make("MountainCarContinuous-v0")),
    [
        polyak.HillClimbing(sigma=0.3),
        polyak.NelderMead(edge=0.5),
        polyak.SimulatedAnnealing(temperature=10.0, sigma=0.5, final_sigma=0.05),
        polyak.OpenAIES(sigma=0.5, learning_rate=0.1),
    ],
    low=-2.0,
    high=2.0,
    start=(1.0, -0.5),
    generations=30,
    title="four searches, one landscape",
)
landscape

# %% [markdown]
# The evolution strategy walks away from the bright part. Where the car does not arrive, every push costs, so the best
# direction *nearby* is to push less. It ends where the car does nothing. A larger `sigma` sees farther.
#
# `landscape.film("searches.gif")` shows the members of every generation.
#
# ## Side by side
#
# The library's searches play a whole population as one batch. Look how many steps each of them needs. The curves are
# of all members that were tried, good or bad; the scores are of the policy that is handed over.
# %% tags=["train"]
runs = [
    polyak.train(name, "CartPole-v1", seeds=3, progress=False) for name in ("random-search", "hill-climbing", "ars")
]
for run in runs:
    print(f"{run.about['algorithm']:14} {run.scores}")
polyak.draw_curves(runs)

# %% tags=["result"]
assert runs[2].scores.mean > 400, runs[2].scores

# %% [markdown]
# ## What courses leave out
#
# Courses list these methods and give no code. Two things are then easy to get wrong.
#
# - **A single lucky episode.** A search that keeps the best score it ever saw keeps the luckiest policy. Try the best
#   one again, and let its mean count. polyak's searches do.
# - **Counting.** Compare methods by the steps that *all* members made, not by generations. A generation of 100
#   members costs as much as 100 episodes of any other method.
#
# The presets, on `CartPole-v1`, 320,000 steps of all members for most: `ars` 500 in 50,000 steps for each seed, `cem`
# 500, `openai-es` 500, `hill-climbing` 499, `simulated-annealing` 498, `random-search` 497.5 and `genetic` 453.5,
# each the mean of ten seeds or more. `polyak train ars CartPole-v1` repeats one.
#
# The library: [algorithms/search/hill_climbing.py](src/polyak/algorithms/search/hill_climbing.py),
# [algorithms/search/nelder_mead.py](src/polyak/algorithms/search/nelder_mead.py),
# [algorithms/search/openai_es.py](src/polyak/algorithms/search/openai_es.py).
#
# Next: `polyak course 14`, in which gradients and values meet.
