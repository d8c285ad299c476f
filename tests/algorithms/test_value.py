"""The family of deep Q-learning: each member, and what they can be combined with, on a probe that asks everything."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polyak.algorithms.value.c51 import C51
from polyak.algorithms.value.dqn import DQN
from polyak.algorithms.value.iqn import IQN
from polyak.algorithms.value.pqn import PQN
from polyak.algorithms.value.qr_dqn import QRDQN
from polyak.algorithms.value.rainbow import Rainbow
from polyak.parts.exploration import Boltzmann, EpsilonLadder
from polyak.parts.networks import MLP, Dueling
from polyak.parts.optimise import Adam, RAdam, RMSProp
from polyak.parts.replay import Prioritised
from tests.algorithms.test_probes import ENDLESS, GAMMA, train

PROBE = "probe/match-then-wait"
# What is seen, and the value of each action there.
KNOWN = {-1.0: (ENDLESS, ENDLESS - 2), 1.0: (ENDLESS - 2, ENDLESS), 0.0: (ENDLESS, ENDLESS)}

SHARED = {
    "learning_rate": 1e-2,
    "gamma": GAMMA,
    "buffer_size": 1_000,
    "learning_starts": 0,
    "batch_size": 32,
    "target_update_interval": 32,
    "exploration_final_eps": 0.3,  # every action is tried for ever, so that every Q-value is learnt
    "network": MLP((16,)),
}
ATOMS = {"n_atoms": 31, "v_min": 0.0, "v_max": 12.0}
NOISY = {"network": MLP((16,), noisy=0.5)}
NOISY_DUELING = {"network": Dueling((16,), noisy=0.5)}
FRESH = {"learning_rate": 5e-3, "gamma": GAMMA, "n_steps": 8, "batch_size": 32, "exploration_final_eps": 0.3}

# Every two of: double, n steps, prioritised, dueling, noisy, other optimizers, ways to explore, several environments,
# normalised observations, soft targets and many gradient steps meet in one of these.
CASES = {
    "double, n-step, prioritised, dueling, ladder": (
        DQN, {"double": True, "n_steps": 3, "replay": Prioritised(), "network": Dueling((16,)),
              "exploration": EpsilonLadder(1.0, 1.0)}, 2),
    "n-step, prioritised, noisy, rmsprop": (
        DQN, {"n_steps": 3, "replay": Prioritised(), "optimizer": RMSProp(0.9, 1e-4), **NOISY}, 1),
    "double, prioritised, radam, boltzmann, normalised, soft": (
        DQN, {"double": True, "replay": Prioritised(alpha=1.0), "optimizer": RAdam(), "exploration": Boltzmann(2.0),
              "normalize_observation": True, "tau": 0.3, "network": MLP((16,), layer_norm=True)}, 2),
    "double, n-step, noisy, dueling, many steps, squared": (
        DQN, {"double": True, "n_steps": 2, "huber_delta": 1e9, "gradient_steps": -1, **NOISY_DUELING}, 2),
    "c51": (C51, ATOMS, 1),
    "rainbow": (Rainbow, {**ATOMS, **NOISY_DUELING, "exploration": None}, 2),
    "qr-dqn": (QRDQN, {"n_quantiles": 8, "replay": Prioritised(), "double": True, "network": Dueling((16,))}, 1),
    "iqn": (IQN, {"n_quantiles": 8, "n_steps": 3}, 2),
    "iqn, prioritised, double, noisy, dueling": (
        IQN, {"n_quantiles": 8, "replay": Prioritised(), "double": True, **NOISY_DUELING}, 1),
    "pqn": (PQN, FRESH | {"network": MLP((16,), layer_norm=True)}, 4),
    "pqn, dueling, adam, normalised, ladder": (
        PQN, FRESH | {"network": Dueling((16,), layer_norm=True), "optimizer": Adam(), "trace_lambda": 0.9,
                      "exploration": EpsilonLadder(1.0, 1.0), "normalize_observation": True}, 4),
}  # fmt: skip


def build(name: str):
    kind, settings, num_envs = CASES[name]
    return kind(**settings) if kind is PQN else kind(**(SHARED | settings)), num_envs


def values_of(algorithm, state, seen) -> np.ndarray:
    """[B, A] action values of what is seen [B]."""
    obs = jnp.array(seen)[:, None]
    if algorithm.normalize_observation:
        obs = state.features.standardise(obs)
    answer = state.parameters(obs)
    if isinstance(algorithm, C51 | Rainbow):
        return np.asarray(jax.nn.softmax(answer) @ jnp.linspace(algorithm.v_min, algorithm.v_max, algorithm.n_atoms))
    if isinstance(algorithm, IQN):
        return np.asarray(answer.quantiles.mean(-1))
    return np.asarray(answer.mean(-1) if isinstance(algorithm, QRDQN) else answer)


@pytest.mark.parametrize("name", CASES)
def test_each_learns_the_known_values_and_says_how_it_goes(name):
    algorithm, num_envs = build(name)
    agent, state, metrics = train(algorithm, PROBE, steps=3_200 * (4 if num_envs == 4 else 1), num_envs=num_envs)
    seen = list(KNOWN)
    np.testing.assert_allclose(values_of(algorithm, state, seen), list(KNOWN.values()), atol=0.35)
    action, _, _ = agent.act(state, (), jnp.array(seen)[:, None], (), False)
    assert action[:2].tolist() == [0, 1]
    wanted = {"loss", "td_error", "q_mean", "q_max", "gradient_norm"}
    wanted |= set() if algorithm.exploration else {"epsilon"}
    wanted |= {"learning_rate"} if isinstance(algorithm, PQN) else {"replay_size"}
    if isinstance(getattr(algorithm, "replay", None), Prioritised):
        wanted |= {"priority_mean", "priority_max"}
    assert wanted == metrics.keys() - {"episodes", "episode_return", "episode_length", "largest_parameter"}
    assert all(math.isfinite(value) for value in metrics.values())
    assert metrics["q_mean"] <= metrics["q_max"]
