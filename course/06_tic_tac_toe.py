# %% [markdown]
# # 6. Tic-tac-toe
#
# You will write the rules of a game, one step of looking ahead, and the error from which a table learns to be
# unbeatable by playing against itself.
# %%
import numpy as np

import polyak
from polyak.course import check
from polyak.envs import tictactoe as game


# %% [markdown]
# ## Where a move leads
#
# In a game you know what your own move does. You do not know what the other player will do. So it is enough to have
# values of the boards *after* a move. They are called **afterstates**. A table of them is smaller than one of states
# and actions, because different moves can lead to the same board.
#
# A board is nine cells: 0 is free, 1 is mine, 2 is yours, row by row. A game is won with three in a row, a column or
# a diagonal.
#
# **Exercise 6.1.** Write who has won.
# %% tags=["exercise"]
def has_won(board, player):
    """Whether the player has three in a line; board is [9]."""
    # <solution>
    cells = np.reshape(board, (3, 3)) == player
    diagonals = [np.diag(cells), np.diag(np.fliplr(cells))]
    return any(line.all() for line in [*cells, *cells.T, *diagonals])
    # </solution>


has_won = check("6.1", has_won)


# %% [markdown]
# ## Look one step ahead
#
# The library numbers all boards, and the environment `tic-tac-toe` shows the agent its **choices**: for each of the
# nine cells the number of the board that a move there leads to, or -1 where a move is not allowed. The best move is
# the one that leads to the afterstate of the largest value.
#
# **Exercise 6.2.** Write the choice of the best move. A move that is not allowed must never be chosen, even if all
# others are worth less than nothing.
# %% tags=["exercise"]
def best_move(values, choices):
    """The cell to play: values [N] of afterstates, choices [9] their numbers or -1."""
    # <solution>
    ahead = np.where(choices >= 0, values[choices], -np.inf)
    return int(np.argmax(ahead))
    # </solution>


best_move = check("6.2", best_move)


# %% [markdown]
# ## Your gain is my loss
#
# In **self-play** one table plays both sides. After my move the board is turned round, and the next choices are
# *yours*. Your best afterstate is worth $\max v$ to you, so it is worth $-\max v$ to me. The TD error of my
# afterstate is then
#
# $$\delta = r - \gamma \max_{a'} v(\text{your afterstate after } a') - v(\text{my afterstate})$$
#
# The minus sign is all that makes Q-learning a player of games. With $\gamma$ below 1 a quick win is worth more than
# a slow one.
#
# **Exercise 6.3.** Write this error. If the game has ended, nothing follows, and all of `next_choices` are -1.
# %% tags=["exercise"]
def self_play_error(values, mine, reward, terminated, next_choices, gamma):
    """The error of values[mine], where the other player chooses among next_choices."""
    # <solution>
    theirs = 0.0 if terminated else values[next_choices[next_choices >= 0]].max()
    return reward - gamma * theirs - values[mine]
    # </solution>


self_play_error = check("6.3", self_play_error)


# %% [markdown]
# ## Learn by playing
#
# The rules come from the library as tables. One loop, a few thousand games, and nobody has told the agent a strategy.
# %%
def learn(games, alpha, gamma, seed=0):
    """Values of afterstates from self-play."""
    rng, values = np.random.default_rng(seed), np.zeros(len(game.NUMBERS))
    for number in range(games):
        board, over, epsilon = game.EMPTY, False, 1 - number / games
        while not over:
            choices = game.AFTER[board]
            move = best_move(values, choices)
            if rng.random() < epsilon:
                move = rng.choice(np.flatnonzero(choices >= 0))
            mine = choices[move]
            board, over, reward = game.TURNED[mine], game.OVER[mine], float(game.WON[mine])
            values[mine] += alpha * self_play_error(values, mine, reward, over, game.AFTER[board], gamma)
    return values


def losses(values, games, seed=0):
    """Games lost against an opponent that plays perfectly, playing first and second by turns."""
    rng, lost = np.random.default_rng(seed), 0
    for number in range(games):
        board, over, mine = game.EMPTY, False, number % 2 == 0
        while not over:
            allowed = game.perfect_moves()[board]
            move = best_move(values, game.AFTER[board]) if mine else rng.choice(np.flatnonzero(allowed))
            after = game.AFTER[board][move]
            over, lost = game.OVER[after], lost + bool(game.WON[after] and not mine)
            board, mine = game.TURNED[after], not mine
    return lost


values = learn(games=4_000, alpha=0.5, gamma=0.9)
print(
    "boards met:",
    np.count_nonzero(values),
    "of 5,478 that can come up; lost against the perfect player:",
    losses(values, 40),
    "of 40 games",
)

# %% [markdown]
# A few thousand games are not enough to be perfect. polyak's `afterstate-td` plays 300,000 moves in a few seconds.
# %% tags=["train"]
run = polyak.train("afterstate-td", "tic-tac-toe", seeds=4, progress=False)
print(run.scores, "against the perfect player: 0 is a draw")
learnt = np.asarray(run.policy().state.v)
print("lost against the perfect player:", losses(learnt, 200), "of 200 games")

# %% tags=["result"]
assert run.scores.mean == 0.0, run.scores
assert losses(learnt, 200) == 0

# %% [markdown]
# ## What is the first move worth?
#
# Against a perfect player every opening is a draw. Against a player who errs they differ. Let the table learn against
# a random player, `tic-tac-toe/random`, and draw what it thinks that each opening is worth.
# %% tags=["train"]
against_random = polyak.train(
    polyak.AfterstateTD(self_play=False, learning_rate=polyak.StepSize(0.5, 0.01)),
    "tic-tac-toe/random",
    steps=300_000,
    progress=False,
)
openings = np.asarray(against_random.policy().state.v)[game.AFTER[game.EMPTY]]
board = polyak.MDP.from_grid(["S..", "...", "..."], id="board")
polyak.draw_values(board, openings, title="value of each opening, against a random player")

# %% [markdown]
# Play it yourself: leave the notebook and type `polyak play tic-tac-toe --show-values`. The values of its table stand
# in the free cells.
#
# ## What well-known listings get wrong
#
# - Slides give the rule $V(s) \leftarrow V(s) + \alpha\,[V(s') - V(s)]$ for tic-tac-toe. It has no reward and no
#   sign: it is for a learner whose opponent is part of the world, as in `tic-tac-toe/random`. In self-play the sign
#   must turn (exercise 6.3).
# - Many listings update after *exploring* moves with the value of that move. Then a good board looks bad because of a
#   blunder that was made on purpose. The error above uses the best reply, whatever was then played.
# - Scoring a policy against the opponent that it learnt from tells little. polyak scores self-play against the
#   perfect player.
#
# The library: [envs/tictactoe.py](src/polyak/envs/tictactoe.py) has the rules in five lines,
# [algorithms/tabular/afterstate_td.py](src/polyak/algorithms/tabular/afterstate_td.py) the learner.
#
# Next: `polyak course 7`, which needs no values.
