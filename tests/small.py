"""What makes an algorithm small: one row of settings, which every generic test reads, and a world that suits it.

An algorithm without a row is small by default, as tables are. A row serves all tests alike: with it the known values of
`test_every_algorithm.py` are learnt within thousands of steps, memories fill and wrap, blocks are cut into minibatches,
and a program takes a second or two to compile. Settings are plain data, as on the command line.
"""

import dataclasses
from typing import Any

import gymnasium
import numpy as np

from polyak.agent import Algorithm, Spec
from polyak.algorithms import ALGORITHMS
from polyak.envs import make
from polyak.errors import BadSetting
from polyak.settings import build

RATE = {"learning_rate": 1e-2, "anneal_learning_rate": True}
REPLAY = RATE | {
    "buffer_size": 500,
    "learning_starts": 64,
    "batch_size": 32,
    "train_freq": 4,
    "target_update_interval": 16,
    "exploration_final_eps": 0.3,  # every action is tried for ever, so that every value is learnt
}
MEMORY = {"burn_in": 4, "sequence_length": 4}
MLP, TANH = {"network": "mlp:16"}, {"network": "mlp:16:tanh"}
ATOMS = {"n_atoms": 17, "v_min": -4.0, "v_max": 12.0}
BLOCKS = {"n_steps": 16}
MINIBATCHES = BLOCKS | {"batch_size": 32, "n_epochs": 4}
OFF_POLICY = RATE | {
    "learning_rate": 3e-3,
    "buffer_size": 4_000,
    "learning_starts": 64,
    "batch_size": 64,
    "train_freq": 4,
    "gradient_steps": 4,
    "network": "mlp:16",
    "critic_network": "mlp:64,64:silu",
}
CONTINUOUS = OFF_POLICY | {"action_noise": "normal:0.7"}  # every action is tried for ever, so that its value is learnt
TARGETS, HEAT = {"tau": 0.05}, {"ent_coef_init": 0.1}
SOFT = CONTINUOUS | TARGETS | HEAT
SEARCH = {"session_length": 1, "episodes_per_member": 8}  # the first step tells policies apart, what follows does not
ACTOR_CRITIC = RATE | TANH | {"max_grad_norm": 10.0}

SMALL: dict[str, dict[str, Any]] = {
    "monte-carlo-prediction": BLOCKS,
    "lambda-return": BLOCKS,
    "monte-carlo": BLOCKS,
    "off-policy-monte-carlo": BLOCKS,
    "tabular-cem": {"session_length": 16},
    "random-search": SEARCH | {"episodes_per_member": 32},
    "hill-climbing": SEARCH | {"episodes_per_member": 32},
    "simulated-annealing": SEARCH
    | {"episodes_per_member": 16, "temperature": 0.1, "final_temperature": 0.01, "sigma": 1.0, "final_sigma": 1.0},
    "genetic": SEARCH | {"episodes_per_member": 16, "elite_share": 0.5, "sigma": 0.5},
    "cem": SEARCH | {"extra_sigma": 1.0},
    "openai-es": SEARCH | {"network": "mlp:none"},
    "ars": SEARCH,
    "cma-es": SEARCH,
    "nelder-mead": SEARCH,
    "dqn": REPLAY | MLP,
    "apex-dqn": REPLAY | {"network": "dueling:16", "exploration": "epsilon:0.3"},
    "c51": REPLAY | MLP | ATOMS,
    "qr-dqn": REPLAY | MLP | {"n_quantiles": 8},
    "iqn": REPLAY | MLP | {"n_quantiles": 8},
    "rainbow": REPLAY | ATOMS | {"network": "dueling:16:relu:noisy=0.5", "exploration": "epsilon:0.3"},
    "recurrent-dqn": REPLAY | MEMORY | {"network": "mlp:16+gru:8"},
    "pqn": RATE | MINIBATCHES | {"exploration_final_eps": 0.3, "network": "mlp:16:relu:layer_norm"},
    "reinforce": ACTOR_CRITIC | BLOCKS,
    "a2c": ACTOR_CRITIC | BLOCKS,
    "trpo": ACTOR_CRITIC | MINIBATCHES,
    "ppo": ACTOR_CRITIC | MINIBATCHES,
    "async-q-learning": RATE | BLOCKS | MLP | {"exploration": "epsilon:0.3", "target_update_interval": 64},
    "a3c": ACTOR_CRITIC | BLOCKS,
    "impala": ACTOR_CRITIC | BLOCKS,
    "appo": ACTOR_CRITIC | MINIBATCHES,
    "ddpg": CONTINUOUS | TARGETS,
    "apex-ddpg": CONTINUOUS | TARGETS | {"n_steps": 1},  # returns of more steps are those of its noise too
    "td3": CONTINUOUS | TARGETS,
    "sac": SOFT,
    "tqc": SOFT | {"n_quantiles": 8, "top_quantiles_to_drop_per_net": 1},
    "redq": SOFT | {"n_critics": 3, "policy_delay": 2},
    "droq": SOFT | {"policy_delay": 2, "gradient_steps": 2, "critic_network": "mlp:32,32:silu:layer_norm"},
    "crossq": CONTINUOUS | HEAT | {"policy_delay": 2},
    "discrete-sac": OFF_POLICY | TARGETS | HEAT | {"target_entropy": 0.3},
    "recurrent-sac": OFF_POLICY
    | TARGETS
    | HEAT
    | MEMORY
    | {"gradient_steps": 2, "batch_size": 16, "network": "mlp:16+gru:16"},
    "deep-cem": ACTOR_CRITIC | {"session_length": 16, "batch_size": 8, "n_epochs": 4},
    "mcts": {"num_simulations": 8, "horizon": 16},
    "alphazero": RATE
    | MLP
    | BLOCKS
    | {"num_simulations": 8, "buffer_size": 2_000, "batch_size": 64, "gradient_steps": 8, "average": 0.9},
    "linucb": {"alpha": 2.0},  # the rewards of the known world are not linear, so that bounds must be wide
    "neural-linear": {
        "learning_rate": 1e-2,
        "buffer_size": 500,
        "batch_size": 16,
        "train_freq": 4,
        "gradient_steps": 4,
        "network": "mlp:16",
    },
}

# What learns nothing, and is tested beside its equations alone.
ONLY_PLANS = ("mcts",)

# What is left to `make test-all`: SAC goes the same way through the code, and each of these takes half a minute to
# compile.
SLOW = ("tqc", "redq", "droq", "crossq", "recurrent-sac")

# What takes another way through the code than an algorithm's row: the algorithm, and what is changed.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "monte-carlo, every visit": ("monte-carlo", {"first_visit": False, "exploring_starts": True}),
    "n-step-td, visits": ("n-step-td", {"learning_rate": "1/n"}),
    "td-lambda, accumulating": ("td-lambda", {"replacing_traces": False, "learning_rate": "1/n"}),
    "sarsa-lambda, accumulating": ("sarsa-lambda", {"replacing_traces": False, "learning_rate": "0.5:0.01"}),
    "q-learning, visits": ("q-learning", {"learning_rate": "1/n^0.8", "exploration": "ucb:2"}),
    "double-q-learning, boltzmann": ("double-q-learning", {"exploration": "boltzmann:1"}),
    "linear-sarsa, fourier": (
        "linear-sarsa",
        {"features": "fourier:3", "replacing_traces": True, "learning_rate": 1e-3},
    ),
    "dqn, prioritised": ("dqn", {"replay": "prioritised", "double": True, "n_steps": 3}),
    "dqn, hindsight": ("dqn", {"replay": "hindsight:4", "n_steps": 3}),
    "dqn, normalised": ("dqn", {"normalize_observation": True, "anneal_learning_rate": False}),
    "reinforce, no baseline": ("reinforce", {"baseline": False, "whiten": True}),
    "a2c, critic of actions": ("a2c", {"weight": "q"}),
    "a2c, normalised": ("a2c", {"normalize_observation": True, "normalize_reward": True}),
    "ppo, normalised": ("ppo", {"normalize_observation": True, "normalize_reward": True}),
    "impala, far behind": ("impala", {"policy_lag": 3}),
    "impala, recurrent": ("impala", {"network": "mlp:16:tanh+gru:8"}),
    "a3c, recurrent": ("a3c", {"network": "mlp:16:tanh+gru:8"}),
    "appo, recurrent": ("appo", {"network": "mlp:16:tanh+gru:8", "sequence_length": 8, "target_update_blocks": 2}),
    "async-q-learning, one step": ("async-q-learning", {"trace_lambda": 0.0, "exploration": "ladder"}),
    "ppo, recurrent": ("ppo", {"network": "mlp:16:tanh+gru:8", "sequence_length": 8}),
    "ddpg, prioritised": ("ddpg", {"replay": "prioritised", "n_steps": 3, "action_noise": "ou:0.5:0.15:1"}),
    "td3, normalised": ("td3", {"normalize_observation": True, "policy_delay": 1}),
    "sac, given temperature": ("sac", {"ent_coef": 0.01, "action_noise": "ou:0.1"}),
    "action-value-bandit, bounds": ("action-value-bandit", {"exploration": "ucb:2", "learning_rate": 0.1}),
    "gradient-bandit, no baseline": ("gradient-bandit", {"baseline": False, "learning_rate": "1:0.1"}),
    "thompson-sampling, normal": ("thompson-sampling", {"prior": "normal"}),
    "ppo, penalised": ("ppo", {"kl_coef": 1.0, "target_kl": 0.01}),
    "alphazero, upper bounds": ("alphazero", {"tree_policy": "puct", "trace_lambda": 0.9, "self_play_simulations": 4}),
    "deep-cem, none kept": ("deep-cem", {"keep_rounds": 0, "normalize_observation": True, "ent_coef": 0.01}),
}

# What each world shows and what it is given; an algorithm is tested in the first that suits it.
STATES = gymnasium.spaces.Discrete(16)
BOARDS = gymnasium.spaces.Dict({"afterstates": gymnasium.spaces.Box(-1, 3**9 - 1, (9,), np.int32)})
BITS = gymnasium.spaces.MultiBinary(5)
GOALS = gymnasium.spaces.Dict({"observation": BITS, "achieved_goal": BITS, "desired_goal": BITS})
VECTORS, NUMBERS = gymnasium.spaces.Box(-1.0, 1.0, (4,)), gymnasium.spaces.Box(-2.0, 2.0, (1,))
WORLDS = {
    "CartPole-v1": (VECTORS, gymnasium.spaces.Discrete(2)),
    "Pendulum-v1": (VECTORS, NUMBERS),
    "FrozenLake-v1": (STATES, gymnasium.spaces.Discrete(4)),
    "tic-tac-toe": (BOARDS, gymnasium.spaces.Discrete(9)),
    "bit-flipping/5": (GOALS, gymnasium.spaces.Discrete(5)),
    "bandit/bernoulli": (gymnasium.spaces.Discrete(1), gymnasium.spaces.Discrete(10)),
}


def algorithm(case: str, **changes: Any) -> Algorithm:
    """The small algorithm of a name or a variant; `changes` are made where it has such a hyperparameter."""
    name, variation = VARIANTS.get(case, (case, {}))
    fields = {field.name for field in dataclasses.fields(ALGORITHMS[name])}  # type: ignore[arg-type]
    changes = {field: value for field, value in changes.items() if field in fields}
    return build(name, SMALL.get(name, {}) | changes | variation)


def few_envs(algorithm: Algorithm) -> int:
    """How many environments side by side: its own number, if that is small; more where they are a population."""
    return 64 if hasattr(algorithm, "search") else min(4, algorithm.default_num_envs)


def suits(algorithm: Algorithm, world: str) -> bool:
    """Whether an algorithm takes what a world shows, and is taken by it."""
    spec = Spec(*WORLDS[world], few_envs(algorithm), None, 1_000)
    if plans(algorithm):
        spec = spec._replace(simulator=make(world))
    try:
        algorithm.agent(spec)
    except BadSetting:
        return False
    return True


def plans(algorithm: Algorithm) -> bool:
    """Whether its agents see a `Position`, so that it is only had in compiled environments."""
    return getattr(algorithm, "plans", False)


def world_of(algorithm: Algorithm) -> str:
    """The id of the world that it is tested in: of bandits that read no vectors a bandit, where one suits them."""
    bandits = [id for id in WORLDS if id.startswith("bandit/") and ".bandits." in type(algorithm).__module__]
    return next(id for id in ("CartPole-v1", *bandits, *WORLDS) if suits(algorithm, id))
