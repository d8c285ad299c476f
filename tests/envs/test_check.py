"""`polyak.check` names what is wrong with each of these environments, and nothing that is not.

Every broken environment is a good one with one thing changed.
"""

import random
import time
from typing import ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text, Tuple

import polyak
from polyak.envs import check as checking
from polyak.envs.check import CHECKS, ERROR, check_in_short, name_of_check

SHORT = 8  # episodes, which end after some twenty steps


class Walk(gymnasium.Env):
    """A random walk with a push to either side; it ends where it leaves the field, and a clock cuts it."""

    observation_space = Box(-20.0, 20.0, (2,), np.float32)
    action_space = Discrete(2)
    clock = 60

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.steps = self.np_random.uniform(-1.0, 1.0), 0
        return self.observe(), {}

    def observe(self):
        return np.array([self.at, self.steps / 10], np.float32)

    def push(self, action):
        return 0.5 * (2 * action - 1)

    def step(self, action):
        self.steps += 1
        self.at += self.push(action) + self.np_random.normal()
        return self.observe(), -abs(self.at), bool(abs(self.at) > 5), self.steps >= self.clock, {}


class Steered(Walk):
    """The same with a continuous action."""

    action_space = Box(-1.0, 1.0, (1,), np.float32)

    def push(self, action):
        return float(action[0])


class Counts(Walk):
    """Observes in whole numbers."""

    observation_space = Discrete(41, start=-20)

    def observe(self):
        return int(np.clip(round(self.at), -20, 20))


class Bits(Walk):
    observation_space = MultiBinary(2)

    def observe(self):
        return np.array([self.at > 0, self.steps % 2], np.int8)


class Parts(Walk):
    """Observes in a nested space, which no algorithm takes as it is."""

    observation_space = Dict({"at": Box(-np.inf, np.inf, (), np.float32), "more": Tuple((Discrete(61), Discrete(2)))})

    def observe(self):
        return {"at": np.array(self.at, np.float32), "more": (self.steps, int(self.at > 0))}


class Worded(Parts):
    """Says something in one part."""

    observation_space = Dict({**Parts.observation_space.spaces, "said": Text(5)})

    def observe(self):
        return super().observe() | {"said": "left"}


class Levers(Walk):
    action_space = MultiDiscrete([2, 3])

    def push(self, action):
        return float(action[0])


class FixedStart(Walk):
    """Begins every episode alike, and moves without chance."""

    def reset(self, *, seed=None, options=None):
        self.at, self.steps = 0.0, 0
        return self.observe(), {}

    def step(self, action):
        self.steps += 1
        self.at += self.push(action)
        return self.observe(), 1.0, abs(self.at) > 1, self.steps >= self.clock, {}


class Sensor(Walk):
    """Says of itself that nobody can repeat it."""

    spec = gymnasium.envs.registration.EnvSpec("Sensor-v0", nondeterministic=True, max_episode_steps=60)

    def observe(self):
        return np.array([self.at, time.perf_counter() % 1], np.float32)


GOOD = (Walk, Steered, Counts, Bits, Levers, FixedStart, Sensor)

BROKEN = {}  # title -> what makes it, the finding


def broken(finding):
    def register(maker):
        BROKEN[maker.__name__] = maker, finding
        return maker

    return register


def answering(**changes):
    """A class whose `step` returns these instead: obs, reward, terminated, truncated, info."""

    class Answering(Walk):
        def step(self, action):
            answer = dict(zip(("obs", "reward", "terminated", "truncated", "info"), super().step(action), strict=True))
            return tuple((answer | changes).values())

    return Answering


def seeing(view, space=Walk.observation_space):
    """A class that returns `view(observation)`."""

    class Seeing(Walk):
        observation_space = space

        def observe(self):
            return view(super().observe())

    return Seeing


def acting(space):
    class Acting(Walk):
        action_space = space

        def push(self, action):
            return 0.0

    return Acting


# Making it


@broken("cannot-be-made")
class NeedsADisplay(Walk):
    def __init__(self):
        raise RuntimeError("no display")


@broken("cannot-be-made")
class OnlyOnce(Walk):
    made = 0

    def __init__(self):
        OnlyOnce.made += 1
        if OnlyOnce.made % 2 == 0:
            raise OSError("port 5000 is taken")


@broken("not-an-environment")
def forgets_to_return():
    Walk()


@broken("not-an-environment")
class OfAnotherLibrary:
    observation_space, action_space = Walk.observation_space, Walk.action_space


ONE = Walk()


@broken("same-object-twice")
def always_the_same():
    return ONE


@broken("close-raises")
class LosesItsWindow(Walk):
    def close(self):
        self.window.close()


# Spaces


@broken("observation-space-missing")
class SeesNothing(Walk):
    observation_space = None


@broken("observation-space-missing")
class SpaceIsATuple(Walk):
    observation_space = (2,)


@broken("action-space-missing")
class DoesNothing(Walk):
    action_space = None


@broken("space-changes")
class RandomSize(Walk):
    made = 0

    def __init__(self):
        RandomSize.made += 1
        self.observation_space = Box(-20.0 * RandomSize.made, 20.0 * RandomSize.made, (2,), np.float32)


@broken("space-changes")
class LearnsItsActions(Walk):
    def reset(self, *, seed=None, options=None):
        self.action_space = Discrete(3)
        return super().reset(seed=seed)


BROKEN["words"] = Worded, "space-not-supported"
BROKEN["a picture beside a number"] = (
    seeing(
        lambda obs: {"at": obs, "drawn": np.full((32, 32), abs(obs[0]), np.uint8)},
        Dict({"at": Walk.observation_space, "drawn": Box(0, 255, (32, 32), np.uint8)}),
    ),
    "picture-among-parts",
)
BROKEN["unbounded"] = acting(Box(-np.inf, np.inf, (1,), np.float32)), "unbounded-actions"
BROKEN["one action"] = acting(Discrete(1)), "action-without-choice"
BROKEN["empty range"] = acting(Box(np.zeros(2), np.array([1.0, 0.0]), dtype=np.float64)), "action-without-choice"

# reset


@broken("reset-takes-no-seed")
class OldReset(Walk):
    def reset(self):
        return super().reset()


@broken("reset-raises")
class NoLevel(Walk):
    def reset(self, *, seed=None, options=None):
        raise FileNotFoundError("level-1.txt")


@broken("reset-raises")
class OnlyAfterTheEnd(Walk):
    steps = 0

    def reset(self, *, seed=None, options=None):
        if 0 < self.steps < self.clock and abs(self.at) <= 5:
            raise RuntimeError("the episode is not over")
        return super().reset(seed=seed)


@broken("reset-raises")
class SmallSeeds(Walk):
    def reset(self, *, seed=None, options=None):
        if seed is not None and seed >= 2**16:
            raise OverflowError("seed too large")
        return super().reset(seed=seed)


@broken("reset-returns-no-info")
class OldObservation(Walk):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0]


@broken("info-not-a-dictionary")
class NoInfo(Walk):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0], None


# step


@broken("step-raises")
class DividesByZero(Walk):
    def step(self, action):
        _ = 1 / (3 - self.steps)
        return super().step(action)


@broken("step-raises")
class FewerActions(Walk):
    action_space = Discrete(4)

    def push(self, action):
        return [-1.0, 1.0, 2.0][action]


@broken("step-raises")
class FullThrottle(Steered):
    def push(self, action):
        if action[0] == 1.0:
            raise ValueError("the motor is too hot")
        return super().push(action)


@broken("step-returns-no-five")
class OldGym(Walk):
    def step(self, action):
        obs, reward, terminated, _, info = super().step(action)
        return obs, reward, terminated, info


@broken("step-returns-no-five")
class ReturnsNothing(Walk):
    def step(self, action):
        super().step(action)


BROKEN["terminated None"] = answering(terminated=None), "flag-not-a-bool"
BROKEN["truncated array"] = answering(truncated=np.array([False])), "flag-not-a-bool"
BROKEN["terminated 0"] = answering(terminated=0), "flag-is-a-number"
BROKEN["info a list"] = answering(info=[]), "info-not-a-dictionary"
BROKEN["reward None"] = answering(reward=None), "reward-not-a-number"
BROKEN["reward array"] = answering(reward=np.array([1.0])), "reward-not-a-number"
BROKEN["reward text"] = answering(reward="1.0"), "reward-not-a-number"
BROKEN["reward NaN"] = answering(reward=float("nan")), "reward-not-finite"
BROKEN["reward infinite"] = answering(reward=-np.inf), "reward-not-finite"
BROKEN["reward beyond 32 bits"] = answering(reward=1e39), "reward-not-finite"
BROKEN["reward in millions"] = answering(reward=3e6), "reward-scale"
BROKEN["reward in millionths"] = answering(reward=1e-6), "reward-scale"

# Observations

BROKEN["observation None"] = seeing(lambda obs: None), "observation-not-numbers"
BROKEN["observation ragged"] = seeing(lambda obs: [[1.0], [1.0, 2.0]]), "observation-not-numbers"
BROKEN["observation a column"] = seeing(lambda obs: obs[:, None]), "observation-shape"
BROKEN["observation NaN"] = (
    seeing(lambda obs: obs * np.float32("nan") if obs[1] > 0.3 else obs),
    "observation-not-finite",
)
BROKEN["observation infinite"] = seeing(lambda obs: obs + np.float32(np.inf)), "observation-not-finite"
BROKEN["grey in fractions"] = seeing(lambda obs: abs(obs) / 20, Box(0, 255, (2,), np.uint8)), "observation-not-whole"
BROKEN["counts from one"] = seeing(lambda obs: int(obs[1] * 10) + 1, Discrete(3)), "observation-outside-space"
BROKEN["bits of two"] = (
    seeing(lambda obs: np.array([2, obs[0] > 0], np.int8), MultiBinary(2)),
    "observation-outside-space",
)
BROKEN["unscaled"] = seeing(lambda obs: obs * 100), "observation-outside-bounds"
BROKEN["64 bits"] = seeing(lambda obs: obs.astype(np.float64)), "observation-type"
BROKEN["a list"] = seeing(lambda obs: obs.tolist()), "observation-type"
BROKEN["blind"] = seeing(np.zeros_like), "observation-constant"


@broken("reused-buffer")
class Buffer(Walk):
    def observe(self):
        if not hasattr(self, "buffer"):
            self.buffer = np.zeros(2, np.float32)
        self.buffer[:] = super().observe()
        return self.buffer


@broken("action-mutated")
class ClipsInPlace(Steered):
    def push(self, action):
        action *= 0.5
        return super().push(action)


# How episodes end


@broken("never-ends")
class GoesOn(Walk):
    def step(self, action):
        obs, reward, _, _, info = super().step(action)
        return np.clip(obs, -20, 20), reward, False, False, info


@broken("limit-not-kept")
class Overtime(Walk):
    max_episode_steps = 5


@broken("truncation-as-termination")
class ClockTerminates(Walk):
    def step(self, action):
        obs, reward, _, _, info = super().step(action)
        return obs, reward, self.steps >= 25, False, info


@broken("truncation-as-termination")
class KnownClockTerminates(Walk):
    max_episode_steps = 5

    def step(self, action):
        obs, reward, over, _, info = super().step(action)
        return obs, reward, over or self.steps >= 5, False, info


@broken("stays-over")
class StaysOver(Walk):
    over = False

    def step(self, action):
        obs, reward, _, _, info = super().step(action)
        self.over = self.over or self.steps >= 12
        return obs, reward, self.over, False, info


@broken("resets-itself")
class ResetsItself(FixedStart):
    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        if terminated or truncated:
            obs, info = self.reset()
        return obs, reward, terminated, truncated, info


# Repeating


@broken("seed-ignored")
class IgnoresTheSeed(Walk):
    def reset(self, *, seed=None, options=None):
        return super().reset()


@broken("not-deterministic")
class ReadsAClock(Walk):
    def push(self, action):
        return time.perf_counter_ns() % 1000 / 1000


@broken("reset-forgets")
class GetsTired(Walk):
    tired = 0.0

    def push(self, action):
        self.tired += 0.001
        return super().push(action) - self.tired


@broken("objects-share-state")
class SharesItsState(Walk):
    shared: ClassVar = {}  # this is what is wrong with it

    def reset(self, *, seed=None, options=None):
        self.shared["wind"] = 0.0
        return super().reset(seed=seed)

    def push(self, action):
        self.shared["wind"] += 0.1 * action
        return self.shared["wind"]


@broken("reset-repeats-itself")
class AlwaysSeedsAnew(Walk):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed or 0)


@broken("global-randomness")
class NumpyGlobal(Walk):
    def push(self, action):
        return np.random.normal()


@broken("global-randomness")
class PythonGlobal(Walk):
    def push(self, action):
        return random.random() - 0.5


@broken("global-randomness")
class SeedsEverybody(Walk):
    def reset(self, *, seed=None, options=None):
        np.random.seed(0 if seed is None else seed % 2**32)
        return super().reset(seed=seed)


# Time


@broken("slow")
class Sleeps(Walk):
    def step(self, action):
        time.sleep(0.02)
        return super().step(action)


@broken("hangs")
class WaitsForAnAnswer(Walk):
    def step(self, action):
        if self.steps == 3:
            time.sleep(60)
        return super().step(action)


@broken("hangs")
class WaitsAtTheStart(Walk):
    def reset(self, *, seed=None, options=None):
        while True:
            time.sleep(0.01)


def names(findings):
    return [finding.name for finding in findings]


@pytest.fixture(autouse=True)
def unhurried(monkeypatch):
    """No clock decides, however busy the machine."""
    monkeypatch.setattr(checking, "SECONDS", 60.0)


@pytest.mark.parametrize("title", BROKEN)
def test_what_is_wrong_is_named_in_a_sentence_and_nothing_else_is(title, monkeypatch):
    if title == "Sleeps":  # all of its episodes would take twenty seconds
        monkeypatch.setattr(checking, "SECONDS", 1.0)
    make, expected = BROKEN[title]
    findings = polyak.check(make, episodes=SHORT, patience=0.5)
    assert names(findings) == [expected], str(findings)
    (finding,) = findings
    assert finding.sentence.endswith(".") and "\n" not in finding.sentence and "  " not in finding.sentence
    assert finding.sentence[0].isupper() or finding.sentence.startswith(("reset", "close"))


def test_parts_that_are_as_they_should_be_are_no_finding():
    assert names(polyak.check(Parts)) == []


def test_parts_of_an_observation_are_looked_at_one_by_one():
    kind = type("Blurred", (Parts,), {"observe": lambda self: Parts.observe(self) | {"more": (61, 0)}})
    findings = polyak.check(kind)
    assert names(findings) == ["observation-outside-space"]
    assert "the observation['more'][0] 61, which is not in Discrete(61)" in str(findings)


def test_what_survives_reset_is_not_taken_for_shared_state():
    """It makes no difference until the object has been played for long enough."""
    kind = type("Wears", (Walk,), {"worn": 0, "push": wear})
    findings = polyak.check(kind, episodes=SHORT)
    assert not findings, str(findings)


def wear(self, action):
    self.worn += 1
    return 0.0 if self.worn > 500 else Walk.push(self, action)


def test_every_check_finds_something():
    assert {finding for _, finding in BROKEN.values()} == {name_of_check(look) for look, _ in CHECKS}


@pytest.mark.parametrize("kind", GOOD)
def test_nothing_is_found_in_a_good_environment(kind):
    for seed in range(3):
        findings = polyak.check(kind, episodes=SHORT, seed=seed)
        assert not findings, str(findings)
        assert findings.complete and findings.episodes == SHORT and findings.steps_per_second > 100
    assert str(findings).startswith(f"{kind.__name__}: nothing found in {SHORT} episodes, ")
    assert not check_in_short(kind)


def test_the_call_can_be_made_again_from_what_is_told():
    (finding,) = polyak.check(answering(reward=None), seed=3)
    assert finding.severity == ERROR
    assert finding.name == "reward-not-a-number"
    words = "Step 1 of episode 1 (seed "
    assert finding.sentence.startswith(words) and "returned the reward None; return one number" in finding.sentence
    seed = int(finding.sentence.removeprefix(words).split(",")[0])
    action = int(finding.sentence.split("action ")[1].split(")")[0])
    env = answering(reward=None)()
    env.reset(seed=seed)
    assert env.step(action)[1] is None


def test_the_same_check_finds_the_same():
    first, second = (polyak.check(BROKEN["unscaled"][0], seed=5) for _ in range(2))
    assert first.findings == second.findings and first.findings != polyak.check(BROKEN["unscaled"][0], seed=6).findings


def test_random_numbers_of_the_process_and_of_the_space_are_left_alone():
    before, python_before = np.random.get_state()[1].copy(), random.getstate()
    Walk.action_space.seed(0)
    polyak.check(Walk, episodes=1)
    drawn = [Walk.action_space.sample() for _ in range(20)]
    Walk.action_space.seed(0)
    assert drawn == [Walk.action_space.sample() for _ in range(20)]
    assert (np.random.get_state()[1] == before).all() and random.getstate() == python_before


def test_what_was_made_is_closed():
    closed = []
    kind = type("Closes", (Walk,), {"close": lambda self: closed.append(id(self))})
    polyak.check(kind)
    assert len(set(closed)) == 3


@pytest.mark.parametrize(
    ("env", "words"),
    [("CartPol-v1", "did you mean CartPole"), (Walk(), "not Walk"), (7, "not int")],
    ids=["id", "object", "number"],
)
def test_a_mistake_of_the_users_is_no_finding(env, words):
    with pytest.raises(polyak.Error, match=words):
        polyak.check(env)


@pytest.mark.parametrize("how", [{"episodes": 0}, {"seed": -1}, {"patience": 0.0}])
def test_arguments_out_of_range_are_told(how):
    with pytest.raises(polyak.Error, match=next(iter(how))):
        polyak.check(Walk, **how)


class TestBeforeTraining:
    """`train` takes a short look at environments that nobody else has looked at."""

    quick: ClassVar = {"steps": 64, "num_envs": 2, "progress": False, "processes": 0}
    ppo = polyak.PPO(n_steps=16, batch_size=32, n_epochs=1, network=polyak.MLP((8,)))

    def test_an_error_ends_it_before_anything_is_written(self, tmp_path):
        with pytest.raises(polyak.Error, match=r"ClipsInPlace: Step 1 .* changed the array of the action"):
            polyak.train(self.ppo, ClipsInPlace, out=tmp_path, **self.quick)
        assert not list(tmp_path.iterdir())

    def test_a_warning_goes_to_standard_error_and_training_goes_on(self, tmp_path, capsys):
        polyak.train(self.ppo, BROKEN["64 bits"][0], out=tmp_path, **self.quick)
        told = capsys.readouterr().err.splitlines()
        assert len(told) == 1 and told[0].startswith("polyak: Seeing: Reset(seed=") and "(observation-type)" in told[0]

    def test_the_look_is_short(self):
        steps = []
        kind = type("Counted", (Walk,), {"push": lambda self, action: steps.append(1) or 0.0})
        began = time.perf_counter()
        check_in_short(kind)
        assert len(steps) <= 80 and time.perf_counter() - began < 0.5


SOON = [  # the others take longer: tests/learning/test_registered.py
    spec.id
    for spec in gymnasium.registry.values()
    if any(part in str(spec.entry_point) for part in ("toy_text", "classic_control"))
]
TRUE_WARNINGS = {
    "CliffWalkingSlippery-v1": {"never-ends"},  # no time limit, and chance does not find the goal
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("id", SOON)
def test_no_false_alarm_on_an_environment_of_gymnasiums(id):
    findings = polyak.check(id)
    assert set(names(findings)) == TRUE_WARNINGS.get(id, set()), str(findings)
