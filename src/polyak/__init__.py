"""polyak: reinforcement learning on JAX. The public names; JAX is loaded when one of them first needs it."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polyak.agent import Agent, Algorithm, Spec, Step
    from polyak.algorithms.policy.ppo import PPO
    from polyak.algorithms.value.dqn import DQN
    from polyak.envs import CompiledEnv, make
    from polyak.errors import Error
    from polyak.evaluation import Scores, evaluate
    from polyak.parts.networks import MLP, Dueling, MinAtarCNN
    from polyak.policy import Policy, load
    from polyak.training import Run, resume, train

_HOMES = {
    "polyak.agent": ("Agent", "Algorithm", "Spec", "Step"),
    "polyak.algorithms.policy.ppo": ("PPO",),
    "polyak.algorithms.value.dqn": ("DQN",),
    "polyak.envs": ("CompiledEnv", "make"),
    "polyak.errors": ("Error",),
    "polyak.evaluation": ("Scores", "evaluate"),
    "polyak.parts.networks": ("MLP", "Dueling", "MinAtarCNN"),
    "polyak.policy": ("Policy", "load"),
    "polyak.training": ("Run", "resume", "train"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "DQN",
    "MLP",
    "PPO",
    "Agent",
    "Algorithm",
    "CompiledEnv",
    "Dueling",
    "Error",
    "MinAtarCNN",
    "Policy",
    "Run",
    "Scores",
    "Spec",
    "Step",
    "evaluate",
    "load",
    "make",
    "resume",
    "train",
]


def __getattr__(name: str):
    if name not in _HOME_OF:
        raise AttributeError(f"module 'polyak' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
