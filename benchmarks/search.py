"""Simulations a CPU-second of searches, on one core.

    python -m benchmarks.search [--game connect-four] [--boards 64] [--simulations 32] [--rounds 5] [--peer FOLDER]

UCT with random rollouts; the search of AlphaZero, with a network of 3 x 256 units; mctx as it is, on pgx as it is, with
the same network, its legal moves and no more; and, where a checkout of alpha-zero-general is given, its search with a
network of the same size in PyTorch. They take turns.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import mctx
import pgx

import polyak
from polyak.agent import Position, Spec
from polyak.envs import CompiledEnv, make
from polyak.envs.games.from_pgx import GAMES
from polyak.ops.tree_search import task_of, uct
from polyak.spaces import mask_of


def rate(search: Callable[[], Any], simulations: int, seconds: float = 2.0) -> float:
    """Simulations a CPU-second, after one search to warm up."""
    jax.block_until_ready(search())
    began, made = time.process_time(), 0
    while time.process_time() - began < seconds:
        jax.block_until_ready(search())
        made += simulations
    return made / (time.process_time() - began)


def rollouts(env: CompiledEnv, boards: int, simulations: int) -> Callable[[], Any]:
    """UCT from the first position."""
    mask, count = mask_of(env.observation_space), int(env.action_space.n)  # type: ignore[attr-defined]
    task = task_of(env, mask, count, 0, 1.0)

    def one(noise: Any, key: jax.Array) -> Any:
        state, obs = env.reset(noise)
        return uct(task, state, obs[mask] != 0, key, simulations=simulations, exploration=1.0, horizon=500)

    search = jax.jit(lambda noise, keys: jax.vmap(one)(noise, keys).visits)
    noise, keys = env.noise(jax.random.key(0), (boards,)), jax.random.split(jax.random.key(1), boards)
    return lambda: search(noise, keys)


def guided(env: CompiledEnv, boards: int, simulations: int) -> tuple[Callable[[], Any], Any]:
    """AlphaZero's search from the first position, and the network."""
    spec = Spec(env.observation_space, env.action_space, boards, None, 1_000, None, env)
    algorithm = polyak.AlphaZero(num_simulations=simulations, n_steps=1, buffer_size=boards)
    state, planner = algorithm.agent(spec).init(jax.random.key(0)), algorithm.planner(spec)
    world, obs = jax.vmap(env.reset)(env.noise(jax.random.key(0), (boards,)))
    search = jax.jit(lambda player, position, key: planner(player, position, key, False).weights)
    return lambda: search(state.player, Position(obs, world), jax.random.key(1)), state.player.network


def bare(game: str, network: Any, boards: int, simulations: int) -> Callable[[], Any]:
    """The same search as mctx and pgx are used without us."""
    env = pgx.make(GAMES[game].pgx_id)  # type: ignore[arg-type]

    def look(network: Any, state: Any) -> tuple[jax.Array, jax.Array]:
        found = network(state.observation.astype(jnp.float32).reshape(boards, -1))
        logits = jnp.where(state.legal_action_mask, found[:, :-1], jnp.finfo(jnp.float32).min)
        return logits, jnp.tanh(found[:, -1])

    def expand(network: Any, key: jax.Array, action: jax.Array, state: Any) -> tuple[Any, Any]:
        after = jax.vmap(env.step)(state, action)
        logits, value = look(network, after)
        reward = after.rewards[jnp.arange(boards), state.current_player]
        discount = jnp.where(after.terminated, 0.0, -1.0)
        value = jnp.where(after.terminated, 0.0, value)
        return mctx.RecurrentFnOutput(reward=reward, discount=discount, prior_logits=logits, value=value), after

    @jax.jit
    def search(network: Any, state: Any, key: jax.Array) -> jax.Array:
        logits, value = look(network, state)
        root = mctx.RootFnOutput(prior_logits=logits, value=value, embedding=state)
        return mctx.gumbel_muzero_policy(
            network, key, root, expand, simulations, invalid_actions=~state.legal_action_mask, gumbel_scale=0.0
        ).action_weights

    state = jax.jit(jax.vmap(env.init))(jax.random.split(jax.random.key(0), boards))
    return lambda: search(network, state, jax.random.key(1))


PEER = """
import sys, time
import numpy as np, torch
sys.path.insert(0, sys.argv[1])
from connect4.Connect4Game import Connect4Game
from MCTS import MCTS
torch.set_num_threads(1)
Connect4Game.stringRepresentation = lambda self, board: board.tobytes()  # tostring is gone from NumPy
game = Connect4Game()
layers = [torch.nn.Linear(84, 256), torch.nn.ReLU(), torch.nn.Linear(256, 256), torch.nn.ReLU(),
          torch.nn.Linear(256, 256), torch.nn.ReLU(), torch.nn.Linear(256, 8)]
network = torch.nn.Sequential(*layers).eval()
class Net:
    def predict(self, board):
        planes = np.stack([board == 1, board == -1], -1).astype(np.float32)
        with torch.no_grad():
            found = network(torch.from_numpy(planes.reshape(1, -1)))[0]
        return torch.softmax(found[:7], 0).numpy(), torch.tanh(found[7:]).numpy()
class Settings(dict):
    __getattr__ = dict.__getitem__
simulations = int(sys.argv[2])
began, made = time.process_time(), 0
while time.process_time() - began < 5.0:
    MCTS(game, Net(), Settings(numMCTSSims=simulations, cpuct=1.0)).getActionProb(game.getInitBoard())
    made += simulations
print(made / (time.process_time() - began))
"""


def peer(folder: Path, simulations: int, python: str) -> float:
    """alpha-zero-general's rate, in an interpreter that has PyTorch."""
    command = [python, "-c", PEER, str(folder), str(simulations)]
    return float(subprocess.check_output(command, text=True).splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--game", default="connect-four", choices=list(GAMES))
    parser.add_argument("--boards", type=int, default=64, help="games side by side")
    parser.add_argument("--simulations", type=int, default=32, help="of each search")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer", type=Path, help="a checkout of alpha-zero-general")
    parser.add_argument("--python", default=sys.executable, help="an interpreter with PyTorch, for the peer")
    chosen = parser.parse_args()
    env, (boards, simulations) = make(chosen.game), (chosen.boards, chosen.simulations)
    assert isinstance(env, CompiledEnv)
    ours, network = guided(env, boards, simulations)
    contestants = {
        "UCT, random rollouts": rollouts(env, boards, simulations),
        "AlphaZero": ours,
        "mctx and pgx as they are": bare(chosen.game, network, boards, simulations),
    }
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(chosen.rounds):
        for name, search in contestants.items():
            found[name].append(rate(search, boards * simulations))
        if chosen.peer:
            found.setdefault("alpha-zero-general", []).append(peer(chosen.peer, simulations, chosen.python))
    for name, rates in found.items():
        print(f"{name:26} {statistics.median(rates):10,.0f} simulations a CPU-second")
    for name in list(found)[2:]:
        ratios = [one / other for one, other in zip(found["AlphaZero"], found[name], strict=True)]
        print(f"AlphaZero over {name}: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
