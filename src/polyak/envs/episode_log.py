"""The episode that each environment of a vector plays, and its progress."""

from typing import Any

import numpy as np

from polyak.envs.base import EpisodeSeeds


class EpisodeLog:
    """The episodes of B environments.

    Every episode begins with a seed of its own: a function of the vector's seed, the environment and the number of the
    episode. So an episode can be had again from its seed and its actions.

    Args:
        num_envs: B.
        first: where these environments stand among those of the vector that they are a part of.
        of: how many that vector has; by default these are all.

    Attributes:
        numbers: of the present episode of each environment, from 0; -1 before the first.
        seeds: that it began with.
        steps: taken in it.
        actions: the first ones of it, if they are written here.
        vector_seed: of which all seeds are a function.
    """

    def __init__(self, num_envs: int, first: int = 0, of: int | None = None):
        self.first, self.of = first, of or num_envs
        self.numbers, self.seeds, self.steps = [-1] * num_envs, [0] * num_envs, [0] * num_envs
        self.actions: list[list[Any]] = [[] for _ in range(num_envs)]
        self.seed(int(np.random.SeedSequence().generate_state(1)[0]))

    def seed(self, seed: int) -> None:
        """Counts episodes anew, with other seeds."""
        self.vector_seed, self._seed_of = seed, EpisodeSeeds(seed, self.of)
        self.numbers[:] = [-1] * len(self.numbers)

    def begin(self, i: int, seed: int | None = None) -> None:
        """Counts an episode of environment i; its seed is by default the next of its own."""
        self.numbers[i] += 1
        self.seeds[i] = self._seed_of(self.first + i, self.numbers[i]) if seed is None else seed
        self.steps[i], self.actions[i] = 0, []

    def place(self, i: int) -> dict[str, Any]:
        """The present episode of environment i, as JSON."""
        return {"episode": self.numbers[i], "seed": self.seeds[i], "steps": self.steps[i]}

    def go_to(self, i: int, place: dict[str, Any]) -> None:
        """Continues the episode of environment i that a place describes."""
        self.numbers[i], self.seeds[i], self.steps[i] = place["episode"], place["seed"], place["steps"]
