"""Steps of environments that show stacks of frames, and a plain list of them that tells what a memory must answer."""

from typing import NamedTuple

import gymnasium
import numpy as np

from polyak.agent import Spec, Step

STARTS = ("repeated", "blank", "pushed")  # what stands before the first frame of an episode
FRAME = (1, 2)  # two bytes, which tell frames apart


class Seen(NamedTuple):
    """One step of one environment."""

    obs: np.ndarray  # [k, *FRAME]
    action: int
    reward: float
    terminated: bool
    truncated: bool
    next_obs: np.ndarray


class World:
    """B environments whose episodes end at random, each after the other kind of beginning."""

    def __init__(self, num_envs: int, stack: int, seed: int, end: float = 0.3, frames: int = 0):
        self.num_envs, self.stack, self.end = num_envs, stack, end
        self.rng = np.random.default_rng(seed)
        self.frames = frames  # that were seen elsewhere
        self.obs = [self.first(None) for _ in range(num_envs)]
        self.steps: list[list[Seen]] = []  # [t][b]

    @property
    def spec(self) -> Spec:
        space = gymnasium.spaces.Box(0, 255, (self.stack, *FRAME), np.uint8)
        return Spec(space, gymnasium.spaces.Discrete(5), self.num_envs, None, 1000)

    def frame(self) -> np.ndarray:
        """One that was never seen before, and is not blank."""
        self.frames += 1
        return np.array(divmod(self.frames, 256), np.uint8).reshape(FRAME)

    def first(self, before: np.ndarray | None) -> np.ndarray:
        """The first stack of an episode; `before` is the last of the episode before, if there was one."""
        frame = self.frame()
        start = self.rng.choice(STARTS if before is not None else STARTS[:2])
        if start == "pushed":
            return np.concatenate([before[1:], frame[None]])
        older = np.repeat(frame[None], self.stack - 1, 0)
        return np.concatenate([older * (start == "repeated"), frame[None]])

    def block(self, length: int) -> Step:
        """The next steps [T, B] of all environments."""
        rows = [[self.step(b) for b in range(self.num_envs)] for _ in range(length)]
        self.steps += rows
        leaves = (np.array([[getattr(step, name) for step in row] for row in rows]) for name in Seen._fields)
        obs, action, reward, *rest = leaves
        return Step(obs, action.astype(np.int32), reward.astype(np.float32), *rest, ())

    def step(self, b: int) -> Seen:
        obs = self.obs[b]
        next_obs = np.concatenate([obs[1:], self.frame()[None]])
        over, clock = self.rng.random(2) < (self.end, 0.5)
        self.obs[b] = self.first(next_obs) if over else next_obs
        reward = float(self.rng.integers(-8, 8))
        return Seen(obs, int(self.rng.integers(5)), reward, bool(over and not clock), bool(over and clock), next_obs)

    def cut(self, which: np.ndarray) -> None:
        """The present episodes of those environments are lost."""
        for b in np.flatnonzero(which):
            last = self.steps[-1][b]
            if not (last.terminated or last.truncated):
                self.steps[-1][b] = last._replace(truncated=True)
                self.obs[b] = self.first(last.next_obs)

    def places(self) -> dict[bytes, tuple[int, int]]:
        """The step [t, b] of which a frame is the newest."""
        return {step.obs[-1].tobytes(): (t, b) for t, row in enumerate(self.steps) for b, step in enumerate(row)}

    def final_frames(self) -> list[bytes]:
        """Those after the last steps of episodes, in their order."""
        ended = (step for row in self.steps for step in row if step.terminated or step.truncated)
        return [step.next_obs[-1].tobytes() for step in ended]

    def after(self, t: int, b: int, n_steps: int, gamma: float) -> tuple[float, float, np.ndarray]:
        """The sum of up to n rewards from a step on, the discount of what follows, and the observation there."""
        total, discount = 0.0, 1.0
        for row in self.steps[t : t + n_steps]:
            step = row[b]
            total += discount * step.reward
            discount *= gamma
            if step.terminated or step.truncated:
                break
        return total, discount * (not step.terminated), step.next_obs
