# %% [markdown]
# # 19. Search
#
# You will write a search that looks to the end of a game, one that tries out what looks good, and what AlphaZero
# learns from such a search; then it learns connect four, and you see how strong it becomes.
# %%
import numpy as np
from matplotlib.figure import Figure

import polyak
from polyak.course import check
from polyak.envs import tictactoe as game


# %% [markdown]
# ## Look ahead
#
# In chapter 6 a table learnt what boards of tic-tac-toe are worth. With the rules in your hands you need not learn at
# all: you can **search**. What a position is worth to you is the best of what follows. What follows is the other
# player's turn, and what that player gains you lose:
#
# $$v(s) = \max_a -v(s_a)$$
#
# where $s_a$ is the position after move $a$. This is **negamax**. It ends where the game is over. If that is too far
# away, it ends `depth` moves ahead, and takes the word of somebody who looks at the board and guesses.
#
# Positions are numbers here. `follows[position]` lists the positions after each move, and is empty where the game is
# over. `values[position]` is what the board alone says to who would move: the result if the game is over, else a
# guess.
#
# **Exercise 19.1.** Write negamax. At depth 0, and where the game is over, the value is that of the board.
# %% tags=["exercise"]
def negamax(position, depth, follows, values):
    """The value of a position to the player to move, looking so many moves ahead."""
    # <solution>
    if depth == 0 or len(follows[position]) == 0:
        return values[position]
    return max(-negamax(after, depth - 1, follows, values) for after in follows[position])
    # </solution>


negamax = check("19.1", negamax)
# %% [markdown]
# In tic-tac-toe who is to move never has three in a row, but may have let the other get there: then the game is lost,
# -1. All else is 0: a draw, or no idea.
#
# One step of looking ahead sees a win at once. Two see the other player's. Three see a fork, and nine see everything.
# `game.minimax()` knows the exact value of every move. A move **keeps the result** if none has a greater one.
# %%
follows = [[int(game.TURNED[after]) for after in afters if after >= 0] for afters in game.AFTER]
values = (-game.WON[game.TURNED].astype(int)).tolist()

met, ahead = set(), [game.EMPTY]
while ahead:
    board = ahead.pop()
    if board not in met:
        met.add(board)
        ahead += follows[board]
open_boards = [board for board in sorted(met) if follows[board]]


def look_ahead(board, depth):
    """The cell to play."""
    worth = [-negamax(after, depth - 1, follows, values) for after in follows[board]]
    return np.flatnonzero(game.LEGAL[board])[np.argmax(worth)]


exact = game.minimax()
for depth in (1, 2, 3, 4):
    kept = [exact[board][look_ahead(board, depth)] == exact[board].max() for board in open_boards]
    print(f"{depth} ahead: keeps the result on {np.mean(kept):.1%} of {len(kept):,} boards")
print("the empty board, looked at to the end of all games:", negamax(game.EMPTY, 9, follows, values))

# %% tags=["result"]
assert len(open_boards) == 4_520
assert negamax(game.EMPTY, 9, follows, values) == 0


# %% [markdown]
# ## Try what looks good
#
# That took half a million boards. Connect four has 4.5 trillion, and nobody can guess well from looking at one. So
# **try**: play on at random to the end, a **rollout**, and see who wins. One rollout says next to nothing. The mean of
# many says whether a position is easy or hard to win.
#
# Which move to try next? The best one so far, to know better. But perhaps another was only unlucky. This is the
# bandit's question, and **UCB1** (Auer et al., 2002) answers it. Of $N$ visits of a node, move $a$ has had $n_a$, with
# the mean result $Q_a$. Take the move with the greatest upper bound:
#
# $$Q_a + c \sqrt{\frac{\ln N}{n_a}}$$
#
# A bound is high where results are good, or where little is known. A move that was never tried has none: it comes
# first.
#
# **Exercise 19.2.** Write the choice. `totals` are sums of results. Of moves that were never tried take the first.
# %% tags=["exercise"]
def ucb1(visits, totals, c):
    """The index of the move to try: visits [A] and totals [A] of the moves at a node."""
    # <solution>
    untried = np.flatnonzero(visits == 0)
    if len(untried):
        return int(untried[0])
    bounds = totals / visits + c * np.sqrt(np.log(visits.sum()) / visits)
    return int(np.argmax(bounds))
    # </solution>


ucb1 = check("19.2", ucb1)


# %% [markdown]
# ## A tree that grows where it matters
#
# **UCT** (Kocsis and Szepesvári, 2006) chooses so at every node of a tree, and grows the tree by one node with each
# simulation. From the root it goes down by UCB1. Where it leaves the tree it adds a node, and plays on at random. Then
# it tells all nodes that it came through how it ended. That is **Monte Carlo tree search**.
#
# At each node the player to move adds up their *own* results. So on the way back to the root the sign turns at every
# step.
#
# **Exercise 19.3.** Write this backup. `path` lists the nodes from the root down, each with the move that was made
# there. `result` is that of the player who made the *last* of these moves.
# %% tags=["exercise"]
def backup(visits, totals, path, result):
    """(visits [N, A], totals [N, A]) after one more simulation."""
    # <solution>
    for node, move in reversed(path):
        visits[node, move] += 1
        totals[node, move] += result
        result = -result
    return visits, totals
    # </solution>


backup = check("19.3", backup)


# %%
def rollout(after, rng):
    """What a random game from an afterstate brings to the player who made it."""
    sign = 1
    while not game.OVER[after]:
        board = game.TURNED[after]
        after, sign = rng.choice(game.AFTER[board][game.LEGAL[board]]), -sign
    return sign * int(game.WON[after])


def uct(board, simulations, c=1.4, seed=0):
    """(visits [9], mean results [9]) of the cells, by a search from a board."""
    rng = np.random.default_rng(seed)
    shape = simulations + 1, 9
    children, visits, totals = np.zeros(shape, int), np.zeros(shape, int), np.zeros(shape)
    for new in range(1, simulations + 1):
        now, node, path = board, 0, []
        while True:
            cells = np.flatnonzero(game.LEGAL[now])
            move = cells[ucb1(visits[node, cells], totals[node, cells], c)]
            path.append((node, move))
            after, child = game.AFTER[now, move], children[node, move]
            if game.OVER[after] or not child:
                break
            now, node = game.TURNED[after], child
        if not game.OVER[after]:
            children[node, move] = new
        visits, totals = backup(visits, totals, path, rollout(after, rng))
    return visits[0], totals[0] / np.maximum(visits[0], 1)


visits, means = uct(game.EMPTY, 300)
print("simulations that began in each cell:")
print(visits.reshape(3, 3))


# %% [markdown]
# The corners and above all the centre are tried most: against a random player they win most often. More simulations
# reply better and better inside the tree, and means come closer to the truth, which is that each opening draws.
#
# Let it play against the perfect player.
# %% tags=["train"]
def lost_games(simulations, games):
    """Games that the search loses against a perfect player, playing first and second by turns."""
    rng, lost, perfect = np.random.default_rng(0), 0, game.perfect_moves()
    for number in range(games):
        board, over, mine = game.EMPTY, False, number % 2 == 0
        while not over:
            if mine:
                move = int(np.argmax(uct(board, simulations, seed=number)[0]))
            else:
                move = rng.choice(np.flatnonzero(perfect[board]))
            after = game.AFTER[board, move]
            over, lost = game.OVER[after], lost + bool(game.WON[after] and not mine)
            board, mine = game.TURNED[after], not mine
    return lost


lost = {simulations: lost_games(simulations, 20) for simulations in (10, 100, 1_000)}
for simulations, count in lost.items():
    print(f"{simulations:5,} simulations a move: lost {count:2} of 20 games")

# %% tags=["result"]
assert lost[1_000] <= 2 < lost[100] < lost[10], lost

# %% [markdown]
# ## The same, compiled
#
# `polyak.mcts` is this search, on any compiled environment or `MDP`. In games it also notes what is *proved*: a move
# that wins at once needs no more tries. Its tree can be seen. The wider a line, the more simulations went along it;
# the best play that it found has a colour of its own.
# %% tags=["train"]
board = np.int32(game.AFTER[game.EMPTY][0])  # a corner is taken, and the other player is to move
board = np.int32(game.TURNED[board])
mine, _ = uct(int(board), 1_000)
search = polyak.mcts("tic-tac-toe", board, 1_000)
for name, visits in (("yours", mine), ("polyak's", search.visits), ("exact values", exact[board])):
    print(f"{name:>12}: {visits}")
search.draw(depth=2)

# %% tags=["result"]
assert np.argmax(mine) == search.action == 4, (mine, search.visits)


# %% [markdown]
# Only the centre holds the draw against a corner, and both find it: -1 is a lost move, -2 one that is not allowed.
#
# ## A search that learns
#
# Random players are poor judges. Two things in UCT wait for somebody who knows more: which moves to try first, and who
# will win. **AlphaZero** (Silver et al., 2018) asks a network $f(s) = (p, v)$ for both. In place of a rollout it takes
# $v$, and it tries moves that look good first. Its bound is
#
# $$Q_a + c\, p_a \frac{\sqrt{N}}{1 + n_a}$$
#
# And where does the network learn it from? From the search. What it visits, $\pi$, is better than $p$, because it has
# looked ahead. And how the game ended, $G$, is better than $v$. So let it play against itself, and learn
#
# $$(G - v)^2 - \sum_a \pi_a \ln p_a$$
#
# A better network makes a better search, which makes a better network. The library by default guides its search as
# Danihelka et al. (2022) do, which learns from as few as two simulations; `tree_policy="puct"` is the bound above.
#
# There is one trap. Two copies of one player soon play the same few games. So a share of the moves is drawn at random
# while it learns. But what comes after a blunder says nothing of the position *before* it, where nobody has to blunder.
# So where the move was random the network learns what the search had found there, and that value takes the place of
# the result for the positions before it too.
#
# **Exercise 19.4.** Write what is learnt of a game: for each of its positions $G$, from the view of the player to move.
# After the last move it is the `result` of who made it. Before that, it is that of the next position with the
# opposite sign, unless the move was random: then it is `values[t]`, what the search found in the position.
# %% tags=["exercise"]
def targets(result, values, is_random):
    """G [T] of a game of T moves; values [T] are the search's, and is_random [T] tells which moves were drawn."""
    # <solution>
    learnt, following = np.zeros(len(values)), -result
    for t in reversed(range(len(values))):
        following = values[t] if is_random[t] else -following
        learnt[t] = following
    return learnt
    # </solution>


targets = check("19.4", targets)
# %% [markdown]
# A game of six moves that its last mover won. The fourth move was random, and a blunder: the search had found its
# player a little better off.
# %%
found = np.array([0.1, -0.1, -0.2, 0.2, 0.9, -0.9])
blunder = np.arange(6) == 3
print("without random moves:", targets(1.0, found, np.zeros(6, bool)))
print("the fourth random:   ", targets(1.0, found, blunder))

# %% [markdown]
# ## Connect four
#
# Four in a line, in a grid of seven columns, in which stones fall. (`pip install "polyak[games]"`.) The first player
# wins, with perfect play; but that is far from easy to find.
#
# How strong is a player? Games against itself do not tell, nor does its loss. The library has 2,502 positions from
# games of weak players, with the exact value of each move; in each of them one can spoil the result. Here is every
# fourth of them.
# %% tags=["train"]
import jax

from polyak.envs.games import Positions, connect_four_positions
from polyak.envs.opponents import by_search

env, every = polyak.make("connect-four"), connect_four_positions()
asked = Positions(jax.tree.map(lambda leaf: leaf[::4], every.states), every.values[::4])
seen = np.asarray(jax.vmap(env.observe)(asked.states))
count = len(seen)

best = asked.values == asked.values.max(1, keepdims=True)
at_random = np.mean(best.sum(1) / (asked.values > -2).sum(1))


def rollouts_keep(simulations):
    """The share of the positions in which a search with random rollouts keeps the result."""
    player = by_search(simulations, env)
    moves = jax.jit(jax.vmap(player.move))(asked.states, seen, player.noise(jax.random.key(0), (count,)))
    return asked.kept(moves).mean()


searched = {simulations: rollouts_keep(simulations) for simulations in (100, 1_000)}
print(f"{count} positions; a random move keeps the result in {at_random:.1%}")
for simulations, share in searched.items():
    print(f"UCT with {simulations:5,} rollouts: {share:.1%}")

# %% [markdown]
# Now AlphaZero. It plays itself for a minute or two, with 16 simulations a move; later it plays with 32. A callback
# notes when each policy was written; they are judged afterwards, so that judging takes no time from learning. The first
# seconds go into compiling.
# %% tags=["train"]
import time


class Notes:
    policy_every = 45_056  # moves

    def on_start(self, run):
        self.began, self.written = time.perf_counter(), []

    def on_policy(self, run, seed, step, path):
        self.written.append((time.perf_counter() - self.began, step, path))


notes = Notes()
alphazero = polyak.AlphaZero(
    self_play_simulations=16,
    value_scale=0.2,  # how much the search trusts values, beside the network's opinion of moves
    random_moves=0.25,
    trace_lambda=0.85,
    learning_rate=2e-3,
    batch_size=256,
    gradient_steps=64,
    average=0.998,
)
run = polyak.train(alphazero, "connect-four", steps=450_560, final_episodes=20, callbacks=[notes], progress=False)
print("against a random player:", run.scores)

# %% tags=["train"]
thinking = run.policy()
policies = {"the network alone": thinking.with_settings(num_simulations=0), "with 32 simulations": thinking}


def keeps(policy):
    """The share of the positions in which a policy keeps the result."""
    moves = policy.player(count)(polyak.Position(seen, asked.states), np.ones(count, bool))
    return asked.kept(moves).mean()


strength = {name: [] for name in policies}
for seconds, moves, path in notes.written:
    learnt = polyak.load(path).state
    for name, policy in policies.items():
        strength[name].append(keeps(policy.with_state(learnt)))
    print(f"{moves:7,} moves, {seconds:3.0f} s:", ", ".join(f"{name} {s[-1]:.1%}" for name, s in strength.items()))

# %% tags=["train"]
figure = Figure(figsize=(7, 4), layout="constrained")
axes = figure.subplots()
times = [seconds for seconds, *_ in notes.written]
for name, shares in strength.items():
    axes.plot(times, [100 * share for share in shares], "o-", label=f"AlphaZero, {name}")
lines = {f"UCT, {simulations:,} rollouts": share for simulations, share in searched.items()}
for style, (name, share) in zip((":", "--", "-."), [("random moves", at_random), *lines.items()], strict=True):
    axes.axhline(100 * share, color="grey", linestyle=style, label=name)
axes.set(xlim=(0, None), ylim=(30, 85), xlabel="seconds since it began", ylabel="positions whose result is kept, %")
axes.legend(loc="lower right", bbox_to_anchor=(1, 0.14), frameon=False, fontsize=8)
picture = polyak.Picture(figure)
picture

# %% tags=["result"]
alone, with_search = (shares[-1] for shares in strength.values())
assert at_random < searched[100] < searched[1_000], (at_random, searched)
assert alone > 0.62 and with_search > 0.7 and with_search > alone, strength
assert with_search > strength["with 32 simulations"][0] + 0.03, strength

# %% [markdown]
# The network alone, which looks at nothing but the position, comes to know more than 100 rollouts. With 32 simulations
# it knows as much as a thousand. These are the curves of one seed, and 626 positions tell strength to about four points
# either way. On all 2,502 the two keep the result in 72.1 % and 79.1 %, and after ten minutes, with the settings of
# `polyak train alphazero connect-four`, in some 83 % and 86 %.
#
# A match is another measure, and says something else. In 200 games this run got 62 % of the points against UCT with
# 100 rollouts, and 23 % against UCT with 1,000, which keeps no more results (`polyak arena RUN mcts-1000 --games 200`).
# One bad move loses a game, however good the others were. So trust no measure alone. After ten minutes five seeds won
# 58 to 69 % of their games against 1,000 rollouts.
#
# See how it thinks. Of all first moves only the middle, column 3, wins against perfect play.
# %% tags=["train"]
start, _ = env.reset(env.noise(jax.random.key(0), ()))
opening = polyak.mcts(env, start, 200, policy=thinking)
print(opening)
opening.draw(depth=2)

# %% [markdown]
# ## Collapse
#
# Without random moves this may go wrong in a way that no loss shows. Two players who are the same play the same few
# games. The network learns these ever better, so its losses fall. It forgets all others, and is lost once anybody
# leaves the path. Hardly a game is won any more; the metric `decided` is the share that are. Random moves, the right
# targets after them (exercise 19.4), and learning each position in its mirror image too keep self-play wide. Positions
# that self-play did not choose show whether they did. More in the guide
# [Planning ahead](docs/how-to/search.md).
#
# ## Play it
#
# The terminal draws the board, and `--show-values` says what the search thinks of your moves.
# %% tags=["train"]
print(f"polyak play connect-four --run {run.path} --level 200 --show-values")
print(f"polyak arena {run.path} mcts-100 --games 200")

# %% [markdown]
# ## What well-known listings get wrong
#
# - The sign. A value is that of the player to move, or of who has just moved; listings mix the two, and their search
#   then looks for the other player's best play. It still learns, badly.
# - Some give a draw to who moved last, and some begin all games in the same way, so that the network knows the opening
#   and nothing else.
# - Many measure progress by matches of the new network against the last one. Once both have narrowed to the same
#   games all matches are drawn, and a beginner beats both.
#
# The library: [ops/tree_search.py](src/polyak/ops/tree_search.py),
# [algorithms/tree_search/alphazero.py](src/polyak/algorithms/tree_search/alphazero.py).
#
# Where to go from here: `polyak list presets`, `polyak train ALGORITHM --help`, and the papers that each algorithm
# names in its first lines, as in [algorithms/policy/ppo.py](src/polyak/algorithms/policy/ppo.py).
