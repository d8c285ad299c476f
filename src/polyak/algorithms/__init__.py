"""One file an algorithm, grouped as a textbook does; `ALGORITHMS` names those that train on blocks of steps."""

from polyak.agent import Algorithm
from polyak.algorithms.policy.ppo import PPO
from polyak.algorithms.value.dqn import DQN

ALGORITHMS: dict[str, type[Algorithm]] = {algorithm.name: algorithm for algorithm in (DQN, PPO)}
