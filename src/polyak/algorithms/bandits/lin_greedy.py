"""Epsilon-greedy over linear rewards: the regression of LinUCB without its bounds, which is what these must beat.

    a_t = argmax_a x_a . theta_a, or with probability epsilon any
    A_a <- A_a + x_a x_a^T,  b_a <- b_a + r x_a,  theta_a = A_a^-1 b_a      of the arm that was pulled

where A_a = lambda I and b_a = 0 at first. Where contexts are so various that they explore by themselves, epsilon may be
0 (Bastani, Bayati and Khosravi, 2021, "Mostly exploration-free algorithms for contextual bandits").
"""

import dataclasses
from typing import ClassVar

from polyak.agent import Agent, Array, Key, PyTree, Spec
from polyak.errors import BadSetting
from polyak.parts import hyper, linear_bandit
from polyak.parts.exploration import EpsilonGreedy
from polyak.parts.linear_bandit import arms_of


@dataclasses.dataclass(frozen=True)
class LinGreedy:
    """Epsilon-greedy choices among rewards that are linear in a context, or in features of each arm."""

    name: ClassVar[str] = "lin-greedy"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = True
    learning_starts: ClassVar[int] = 0
    block_length: ClassVar[int] = 1

    exploration: hyper.ExplorationWithoutVisits = EpsilonGreedy(0.1)
    regression: linear_bandit.Regression = "auto"
    regularization: linear_bandit.Regularization = 1.0
    intercept: linear_bandit.Intercept = True

    def agent(self, spec: Spec) -> Agent:
        arms = arms_of(self, spec)
        if self.exploration.counts:
            raise BadSetting(f"LinGreedy counts no visits, so it does not know {self.exploration.name}; linucb does.")

        def noise(key: Key, shape: tuple[int, ...]) -> PyTree:
            return self.exploration.noise(key, shape, arms.count)

        def choose(mean: Array, spread: Array, progress: Array, noise: PyTree) -> Array:
            return self.exploration.choose(mean, (), progress, noise)

        return linear_bandit.agent(self, spec, arms, noise, choose)
