# %% [markdown]
# # 11. Pixels
#
# You will write what a convolution does to an image, and the stack of frames that lets a network see movement; then a
# network learns Breakout, small enough for your computer.
# %%
import numpy as np
from matplotlib.figure import Figure

import polyak
from polyak.course import check


# %% [markdown]
# ## See with a small window
#
# An Atari screen has 210 x 160 pixels in colour. DQN sees it as 84 x 84 shades of grey. A fully connected layer on
# 7,056 pixels would have to learn what a ball is at every place anew. A **convolution** slides a small window, the
# **kernel**, over the image and computes the same weighted sum everywhere. It moves by a **stride** of some pixels.
# The result is a smaller image.
#
# **Exercise 11.1.** How large is it? Give the length of a side, for an image of `size` pixels, where the window must
# not leave the image.
# %% tags=["exercise"]
def output_size(size, kernel, stride):
    """The length of a side after a convolution."""
    # <solution>
    return (size - kernel) // stride + 1
    # </solution>


output_size = check("11.1", output_size)
# %% [markdown]
# The network of the famous paper (Mnih et al., 2015) has three convolutions: 8 x 8 with stride 4, 4 x 4 with stride
# 2, 3 x 3 with stride 1. The last has 64 channels. So many numbers are left for the dense layer:
# %%
size = 84
for kernel, stride in ((8, 4), (4, 2), (3, 1)):
    size = output_size(size, kernel, stride)
    print(f"{kernel} x {kernel}, stride {stride}: {size} x {size}")
print("numbers that are left:", 64 * size * size)


# %% [markdown]
# **Exercise 11.2.** Write a convolution of one image with one kernel.
# %% tags=["exercise"]
def convolve(image, kernel, stride):
    """The image [H, W] seen through the kernel [k, k]."""
    # <solution>
    k = len(kernel)
    rows, columns = (output_size(side, k, stride) for side in image.shape)
    result = np.zeros((rows, columns))
    for i in range(rows):
        for j in range(columns):
            result[i, j] = np.sum(image[i * stride : i * stride + k, j * stride : j * stride + k] * kernel)
    return result
    # </solution>


convolve = check("11.2", convolve)
# %% [markdown]
# Here a ball and a paddle, seen through a kernel that looks for edges from left to right.
# %%
image = np.zeros((40, 40))
image[10:14, 22:26], image[35:37, 12:24] = 1.0, 0.7
edges = convolve(image, np.array([[-1.0, 0.0, 1.0]] * 3), 1)
figure = Figure(figsize=(7, 3.2), layout="constrained")
for axes, (title, shown) in zip(figure.subplots(1, 2), {"the image": image, "edges": edges}.items(), strict=True):
    axes.imshow(shown, cmap="RdBu_r", vmin=-3, vmax=3)
    axes.set(title=title, xticks=[], yticks=[])
polyak.Picture(figure)


# %% [markdown]
# ## One frame does not move
#
# From one frame you cannot tell whether the ball goes up or down. So the observation is a **stack** of the last four
# frames. At the start of an episode there are no earlier frames; the first one is repeated. Frames of the last
# episode must not stay in the stack.
#
# **Exercise 11.3.** Write the stack. `stack` [n, H, W] has the oldest frame first; `first` says that an episode
# begins with `frame` [H, W].
# %% tags=["exercise"]
def pushed(stack, frame, first):
    """[n, H, W] the stack with the new frame at its end."""
    # <solution>
    if first:
        return np.stack([frame] * len(stack))
    return np.concatenate([stack[1:], frame[None]])
    # </solution>


pushed = check("11.3", pushed)
# %% [markdown]
# ## Breakout, small
#
# Atari takes hours. **MinAtar** (Young and Tian, 2019) has the same games on ten by ten cells, with a channel for
# each kind of thing, and learns in minutes. (`pip install "polyak[minatar]"`.) **PQN** (Gallici et al., 2024) is
# Q-learning from many environments side by side. It has neither a replay memory nor a target network, but normalises
# the layers of its network.
# %% tags=["train"]
run = polyak.train("pqn", "MinAtar/Breakout-v1", steps=300_000, callbacks=[polyak.Film(every=150_000)])
run

# %% [markdown]
# See it play a whole game. The callback has filmed it while it learned, too: look into the folder `films` of the run.
# %% tags=["train"]
polyak.film(run)

# %% tags=["result"]
assert run.scores.mean > 3, run.scores

# %% [markdown]
# A random player scores 0.5 (mean of 300 games). With a million steps, `polyak train pqn MinAtar/Breakout-v1` reaches
# 22.7 (mean of five seeds).
#
# On the real game the same commands work: `polyak train dqn Pong-v5` takes an hour and a half on one core and wins by
# 18 points.
#
# ## What well-known listings get wrong
#
# A blog learns Breakout with a dueling network, and "after about 3,000 episodes it plays quite well". It gives no
# number, so nobody can compare. Look for these three things in code of its kind:
#
# - Is a score of one life or of a whole game? A game has five lives. polyak learns from lives where the protocol says
#   so, and always scores whole games in their own points.
# - Are frames stacked across the end of an episode (exercise 11.3)?
# - A mask on the output, with a row of zeros for the actions not taken, makes the mean squared error smaller by the
#   number of actions. Index the action that was taken instead.
#
# The library: [parts/networks/images.py](src/polyak/parts/networks/images.py) has four networks for images,
# [parts/frames.py](src/polyak/parts/frames.py) a memory that keeps each frame once,
# [algorithms/value/pqn.py](src/polyak/algorithms/value/pqn.py) the learner.
#
# Next: `polyak course 12`, in which the policy itself is learnt.
