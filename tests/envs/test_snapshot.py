"""What is captured comes back as it was, hostile data do nothing, and each tier is found and is exact."""

import copy
import enum
import json
import os
import random
import subprocess
import sys
import types
from collections import deque
from pathlib import Path
from typing import NamedTuple

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import FrameStackObservation, NormalizeObservation, RecordEpisodeStatistics, TimeLimit
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as st_numpy

from polyak.envs import calls, make
from polyak.envs.base import AsGymnasium
from polyak.envs.one import make_one
from polyak.envs.plain import BIT_GENERATORS, DEEPEST
from polyak.envs.snapshot import capture, replay, restore, tier
from polyak.errors import BadFile


class Holder(gymnasium.Env):
    """Holds whatever it is given."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,))
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, **held):
        vars(self).update(held)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}


def copied(fresh: gymnasium.Env, env: gymnasium.Env) -> gymnasium.Env:
    """`fresh` set to the state of `env`, by way of JSON."""
    restore(fresh, json.loads(json.dumps(capture(env), allow_nan=False)))
    return fresh


def form(x):
    """Something that is equal only for values of the same types, bits and order; NaN equals NaN, and True not 1."""
    name = type(x).__name__
    if isinstance(x, np.ndarray | np.generic):
        return name, x.dtype.str, x.shape, x.tobytes()
    if isinstance(x, dict):
        return name, [(form(key), form(item)) for key, item in x.items()]
    if isinstance(x, list | tuple | deque):
        return name, [form(item) for item in x], getattr(x, "maxlen", None)
    if isinstance(x, set | frozenset):
        return name, sorted(str(form(item)) for item in x)
    return name, repr(x)


# ---- data

keys = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)
numbers = st.one_of(st_numpy.boolean_dtypes(), st_numpy.integer_dtypes(), st_numpy.floating_dtypes())
values = st.recursive(
    keys
    | st.floats()
    | st.complex_numbers()
    | st.builds(np.float32, st.floats(width=32))
    | st.builds(np.int64, st.integers(-(2**63), 2**63 - 1))
    | st_numpy.arrays(numbers | st_numpy.unicode_string_dtypes(), st_numpy.array_shapes(min_dims=0, min_side=0)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(keys, inner, max_size=4),
        st.sets(keys, max_size=4),
        st.builds(deque, st.lists(inner, max_size=4), st.none() | st.integers(4, 9)),
    ),
    max_leaves=12,
)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(values)
def test_data_come_back_as_what_they_were(value):
    assert form(copied(Holder(), Holder(value=value)).value) == form(value)


def test_a_deque_keeps_its_length_and_an_array_its_layout():
    value = deque([1, 2], maxlen=2), np.asfortranarray(np.arange(6.0).reshape(2, 3))
    queue, array = copied(Holder(), Holder(value=value)).value
    queue.append(3)
    assert list(queue) == [2, 3] and array.flags.f_contiguous and array.flags.writeable


def test_what_was_one_object_is_one_object_again():
    array, chance = np.zeros(4), np.random.default_rng(0)
    loop: list = []
    loop.append((loop, array))
    env = copied(Holder(), Holder(array=array, again=array, window=array[2:], chance=chance, other=chance, loop=loop))
    env.array[3] = 7
    assert env.again is env.array and env.window[1] == 7 and env.loop[0][1] is env.array
    assert env.chance is env.other and env.loop[0][0] is env.loop


@pytest.mark.parametrize("kind", BIT_GENERATORS.values())
def test_random_generators_go_on(kind):
    env = Holder(new=np.random.Generator(kind(3)), old=np.random.RandomState(kind(4)), own=random.Random(5))
    if kind is not np.random.MT19937:
        env.old = np.random.RandomState(4)
    env.new.random(dtype=np.float32), env.old.normal(), env.own.gauss(0, 1)  # leaves something in each buffer
    again = copied(Holder(), env)
    for draw in (
        lambda env: env.new.integers(2**31, size=5, dtype=np.int32).tolist(),
        lambda env: env.old.normal(size=5).tolist(),
        lambda env: [env.own.gauss(0, 1) for _ in range(5)],
    ):
        assert draw(again) == draw(env)


class Heading(enum.Enum):
    NORTH = 0
    SOUTH = 1


class Place(NamedTuple):
    x: int
    y: int


class Thing:
    def __init__(self, at):
        self.at = at


def test_objects_come_back_where_a_fresh_environment_holds_one():
    env = Holder(thing=Thing(5), things=[Thing(1), Thing(2)], heading=Heading.SOUTH, place=Place(3, 4))
    env.moves = {Heading.NORTH: 1, Heading.SOUTH: -1}
    fresh = Holder(thing=Thing(0), things=[Thing(0), Thing(0)], heading=Heading.NORTH, place=Place(0, 0))
    fresh.moves = {Heading.NORTH: 0, Heading.SOUTH: 0}
    thing = fresh.thing
    copied(fresh, env)
    assert fresh.thing is thing and thing.at == 5 and [one.at for one in fresh.things] == [1, 2]
    assert fresh.heading is Heading.SOUTH and fresh.moves == env.moves
    assert type(fresh.place) is Place and fresh.place == (3, 4)
    with pytest.raises(BadFile, match="where the environment has nothing"):
        copied(Holder(), env)


def test_functions_and_modules_are_those_of_the_fresh_environment():
    fresh = copied(Holder(act=abs, module=json, seen=0), Holder(act=abs, module=json, seen=3))
    assert fresh.act is abs and fresh.module is json and fresh.seen == 3


class Slots:
    __slots__ = ("x",)


@pytest.mark.parametrize("held", [iter([]), Slots(), sys.stderr, {Thing(0): 1}, object(), np.array([{}]), 2**5000])
def test_what_is_no_data_is_not_captured(held):
    assert capture(Holder(held=held)) is None


def test_what_is_too_deep_is_not_captured():
    deep: list = []
    for _ in range(DEEPEST + 1):
        deep = [deep]
    assert capture(Holder(held=deep)) is None


def test_an_own_get_state_is_used_where_the_attributes_are_no_data():
    class Game:
        def __init__(self):
            self.board, self.handle = [0, 0], iter([])

        def get_state(self):
            return {"board": np.array(self.board)}

        def set_state(self, state):
            self.board = state["board"].tolist()

    env = Holder(game=Game(), after=[1])
    env.game.board = env.board = [1, 2]
    again = copied(Holder(game=Game(), after=None), env)
    assert again.game.board == [1, 2] and again.after == [1] and again.board == [1, 2]


# ---- hostile data


def state_with(**attributes) -> dict:
    """Data for a Holder whose attributes are set; entries from 1 on are referred to as {"at": n}."""
    objects = attributes.pop("objects", [])
    return {"value": {"at": 0}, "objects": [{"object": "Holder", "state": attributes}, *objects]}


def one(entry) -> dict:
    return state_with(x={"at": 1}, objects=[entry])


MERSENNE = {"dict": [["bit_generator", "MT19937"], ["state", {"at": 3}]]}
KEY = {"array": "AAAA" * 832, "dtype": "<u4", "shape": [624], "order": "C"}
nested: dict = {"tuple": []}
for _ in range(DEEPEST + 1):
    nested = {"tuple": [nested]}

HOSTILE = {
    "no dictionary": [1, 2],
    "no objects": {"value": {"at": 0}},
    "a scalar": {"value": 3, "objects": []},
    "another class": {"value": {"at": 0}, "objects": [{"object": "TimeLimit", "state": {}}]},
    "an unknown tag": state_with(x={"pickle": "gASVKAAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOU"}),
    "a place that is not there": state_with(x={"at": 7}),
    "a place below zero": state_with(x={"at": -1}),
    "an object of a class by name": one({"object": "os.system", "state": {}}),
    "an object where none is": one({"object": "Holder", "state": {}}),
    "a function by name": state_with(x={"keep": "builtin_function_or_method"}),
    "a module for an attribute": state_with(module=3),
    "a function replaced": state_with(act="print"),
    "attributes of a module": state_with(module={"at": 1}, objects=[{"object": "module", "state": {"x": 1}}]),
    "attributes of a function": state_with(act={"at": 1}, objects=[{"object": "function", "state": {"x": 1}}]),
    "the registry's entry": state_with(
        spec={"at": 1}, objects=[{"object": "EnvSpec", "state": {"entry_point": "os:x"}}]
    ),
    "a generator that is told its state": state_with(
        old={"at": 1}, objects=[{"own": "RandomState", "state": {"tuple": ["MT19937", {"at": 2}, 10**6]}}, KEY]
    ),
    "a dunder": state_with(__class__=3),
    "a name that is none": state_with(**{"a.b": 3}),
    "a method": state_with(reset=3),
    "a list as a key": one({"dict": [[{"at": 0}, 1]]}),
    "an object as a key": one({"set": [{"tuple": [{"at": 0}]}]}),
    "too deep": state_with(x=nested),
    "a tuple within itself by way of a set": one({"set": [{"frozenset": [{"at": 1}]}]}),
    "a huge shape": one({"array": "", "dtype": "<f8", "shape": [2**40], "order": "C"}),
    "a shape below zero": one({"array": "", "dtype": "<f8", "shape": [-1], "order": "C"}),
    "no size for a shape below zero": one({"array": "", "dtype": "<f8", "shape": [0, -1], "order": "C"}),
    "less data than shape": one({"array": "AAAA", "dtype": "<f8", "shape": [1], "order": "C"}),
    "more data than shape": one({"array": "AAAAAAAAAAAAAAAAAAAAAA==", "dtype": "<f8", "shape": [1], "order": "C"}),
    "an array of objects": one({"array": "AAAAAAAAAAA=", "dtype": "|O", "shape": [1], "order": "C"}),
    "a type of no size": one({"array": "", "dtype": "<U0", "shape": [2**40], "order": "C"}),
    "fields": one({"array": "", "dtype": "f8,O", "shape": [0], "order": "C"}),
    "a view past the end": state_with(
        x={"at": 2},
        objects=[
            {"array": "AAAAAAAAAAA=", "dtype": "<f8", "shape": [1], "order": "C"},
            {"view": {"at": 1}, "dtype": "<f8", "shape": [1], "strides": [8], "offset": 8},
        ],
    ),
    "a view whose strides overflow": state_with(
        x={"at": 2},
        objects=[
            {"array": "AAAA" * 11, "dtype": "|u1", "shape": [33], "order": "C"},
            {"view": {"at": 1}, "dtype": "|u1", "shape": [5], "strides": [2**62], "offset": 0},
        ],
    ),
    "a view larger than its array": state_with(
        x={"at": 2},
        objects=[
            {"array": "AAAAAAAAAAA=", "dtype": "<f8", "shape": [1], "order": "C"},
            {"view": {"at": 1}, "dtype": "<f8", "shape": [2**40], "strides": [0], "offset": 0},
        ],
    ),
    "an unknown generator": state_with(
        x={"at": 1}, objects=[{"Generator": {"at": 2}}, {"dict": [["bit_generator", "SystemRandom"], ["state", 1]]}]
    ),
    "a place past the generator's buffer": state_with(
        x={"at": 1},
        objects=[{"Generator": {"at": 2}}, MERSENNE, {"dict": [["key", {"at": 4}], ["pos", 10**6]]}, KEY],
    ),
    "the same in the old form": state_with(
        x={"at": 1}, objects=[{"RandomState": {"tuple": ["MT19937", {"at": 2}, 10**6]}}, KEY]
    ),
    "a wrong base64": state_with(x={"bytes": "?"}),
    "a float by name": state_with(x={"float": "1e5"}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_data_raise_one_sentence_and_change_nothing(name):
    def act():
        raise AssertionError("it ran")

    spec = gymnasium.spec("CartPole-v1")
    env = Holder(x=None, act=act, module=types.ModuleType("module"), spec=spec, old=np.random.RandomState(0))
    env.reset(seed=0)
    before = dict(vars(env), _np_random=None)
    with pytest.raises(BadFile, match=r"^The saved state does not fit Holder \(.*\); resume with .*\.$"):
        restore(env, json.loads(json.dumps(HOSTILE[name])))
    assert dict(vars(env), _np_random=None) == before and spec.entry_point.startswith("gymnasium.")


def test_the_hostile_states_are_well_formed_but_for_one_thing():
    env = Holder(x=None)
    restore(env, one({"array": "AAAAAAAAAAA=", "dtype": "<f8", "shape": [1], "order": "C"}))
    assert env.x.tolist() == [0.0]
    state = {"dict": [["key", {"at": 4}], ["pos", 624]]}
    restore(env, state_with(x={"at": 1}, objects=[{"Generator": {"at": 2}}, MERSENNE, state, KEY]))
    assert isinstance(env.x, np.random.Generator)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.data())
def test_a_state_in_which_something_was_changed_fits_or_raises(data):
    state = json.loads(json.dumps(capture(FrameStackObservation(make_one("FrozenLake-v1"), 2))))
    target = state
    while isinstance(target, dict | list) and target:
        parent, place = (
            target,
            data.draw(st.sampled_from(list(target) if isinstance(target, dict) else range(len(target)))),
        )
        target = parent[place]
    parent[place] = data.draw(
        st.sampled_from([None, -1, 2**70, "x", [], {}, {"at": 1}, {"keep": "EnvSpec"}, {"tuple": [1]}])
    )
    env = FrameStackObservation(make_one("FrozenLake-v1"), 2)
    try:
        restore(env, state)
    except BadFile as error:
        assert "\n" not in str(error)


# ---- tiers


class Game(gymnasium.Env):
    """A walk with chance in it, of about ten steps."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,))
    action_space = gymnasium.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.np_random.normal()
        return self.see(), {}

    def see(self):
        return np.array([self.place], np.float32)

    def step(self, action):
        self.place += action - 1 + self.draw()
        return self.see(), self.place, bool(self.np_random.random() < 0.1), False, {}

    def draw(self):
        return self.np_random.normal()


class ReusedBuffer(Game):
    def __init__(self):
        self.buffer = np.zeros((2, 1), np.float32)
        self.window = self.buffer[1]

    def see(self):
        self.buffer[1] = self.window * 0.5 + self.place  # remembers, through either name
        return self.window

    def reset(self, *, seed=None, options=None):
        self.window[:] = 0
        return super().reset(seed=seed)


class MadeInReset(Game):
    def reset(self, *, seed=None, options=None):
        self.thing = Thing(0)
        return super().reset(seed=seed)

    def draw(self):
        self.thing.at += 1
        return self.thing.at


class GlobalRandom(Game):
    def draw(self):
        return random.gauss(0, 1)


class SeededGlobalRandom(GlobalRandom):
    def reset(self, *, seed=None, options=None):
        random.seed(seed)
        return super().reset(seed=seed)


class ClassCounter(Game):
    count = 0

    def draw(self):
        ClassCounter.count += 1
        return ClassCounter.count % 7


class SharedBoard(Game):
    board = np.zeros(3)

    def reset(self, *, seed=None, options=None):
        self.board[:] = 0
        return super().reset(seed=seed)

    def step(self, action):
        self.board[action] = 1  # to do the same twice changes nothing, so only what was played later shows it
        obs, _, *rest = super().step(action)
        return obs, self.board.sum(), *rest


class Closure(Game):
    def __init__(self):
        steps = 0

        def draw():
            nonlocal steps
            steps += 1
            return steps % 7

        def restart():
            nonlocal steps
            steps = 0

        self.draw, self.restart = draw, restart

    def reset(self, *, seed=None, options=None):
        self.restart()
        return super().reset(seed=seed)


class ForgetfulClosure(Closure):
    def __init__(self):
        super().__init__()
        self.restart = int


class UnseededSpace(Game):
    def __init__(self):
        self.action_space = gymnasium.spaces.Discrete(3)

    def draw(self):
        return int(self.action_space.sample())


class Raises(Game):
    def draw(self):
        raise ValueError("broken")


class RestoresBadly(Game):
    def __init__(self):
        self.handle = iter([])

    def get_state(self):
        return self.place

    def set_state(self, place):
        self.place = place  # and not what is drawn from


def frames():
    return FrameStackObservation(TimeLimit(Game(), 15), 3)


def normalised():
    return NormalizeObservation(make_one("CartPole-v1"))


TIERS = {
    **dict.fromkeys(["CartPole-v1", "MountainCar-v0", "Acrobot-v1"], "copyable"),
    **dict.fromkeys(["Pendulum-v1", "FrozenLake-v1", "Taxi-v4", "CliffWalking-v1", "Blackjack-v1"], "copyable"),
    **dict.fromkeys(["MinAtar/Breakout-v1"], "copyable"),
    "LunarLander-v3": "replayable",
    "BipedalWalker-v3": "cut",
    **dict.fromkeys([Game, ReusedBuffer, MadeInReset, UnseededSpace, frames, normalised], "copyable"),
    **dict.fromkeys([Closure, RestoresBadly], "replayable"),
    **dict.fromkeys([GlobalRandom, SeededGlobalRandom, ClassCounter, SharedBoard, ForgetfulClosure, Raises], "cut"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Box2D raises one as it is imported, and does not survive it
@pytest.mark.parametrize("env", TIERS, ids=lambda env: getattr(env, "__name__", env))
def test_the_tier_is_found(env):
    assert tier(lambda: make_one(env), seconds=60) == TIERS[env]  # all the steps, however slow the machine


def test_a_compiled_environment_behind_gymnasiums_interface_is_copyable():
    compiled = make("tic-tac-toe/greedy")
    assert tier(lambda: AsGymnasium(compiled), steps=40) == "copyable"


def test_a_compiled_environment_refuses_the_state_of_another():
    env, other = AsGymnasium(make("tic-tac-toe/greedy")), AsGymnasium(make("probe/two-steps"))
    env.reset(seed=1), other.reset(seed=1)
    with pytest.raises(BadFile, match="other shapes"):
        copied(env, other)


def test_finding_the_tier_leaves_the_global_random_numbers_alone_and_closes_what_it_makes():
    closed = []

    class Closes(SeededGlobalRandom):
        def close(self):
            closed.append(self)
            raise RuntimeError("twice")

    before = random.getstate(), np.random.get_state()[1].tolist()
    made = []
    tier(lambda: made.append(Closes()) or made[-1], steps=40)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    assert made and closed == made


def test_calls_are_noted_so_that_one_that_hangs_is_found():
    noted = []

    class Sees(Game):
        def reset(self, *, seed=None, options=None):
            noted.append((calls.HERE.read().kind, seed, calls.HERE.read().seed))
            return super().reset(seed=seed)

        def step(self, action):
            noted.append((calls.HERE.read().kind, action, int(calls.HERE.read().action)))
            return super().step(action)

    def make():
        assert calls.HERE.read().kind == calls.MAKE
        return Sees()

    tier(make, steps=8)
    began = len(noted)
    replay(Sees(), 5, [1, 0])
    assert noted[began:] == [(calls.FIRST_RESET, 5, 5), (calls.STEP, 1, 1), (calls.STEP, 0, 0)]
    assert {calls.FIRST_RESET, calls.RESET, calls.STEP} == {kind for kind, *_ in noted}
    assert all(given == told for _, given, told in noted)
    assert calls.HERE.read() is None


def test_an_environment_that_cannot_be_made_or_is_always_the_same_is_cut():
    game = Game()
    assert tier(lambda: game) == "cut"
    assert tier(lambda: 1 / 0) == "cut"  # type: ignore[arg-type]


# ---- a process of its own


def long_env(name: str) -> gymnasium.Env:
    env = make_one(name)
    if name == "CartPole-v1":
        env = RecordEpisodeStatistics(NormalizeObservation(FrameStackObservation(env, 3)))
    return env


def played(env: gymnasium.Env, episodes: int, *, seed: int, midway: bool = False) -> list[str]:
    """What comes back from random actions; `midway`, the first episode has already begun."""
    chance, answers = np.random.default_rng(seed), []
    for k in range(episodes):
        if k or not midway:
            answers.append(str(env.reset(seed=k)[0].tolist()))
        over = False
        while not over:
            obs, reward, terminated, truncated, _ = env.step(int(chance.integers(env.action_space.n)))
            answers.append(f"{obs.tolist()} {float(reward).hex()} {terminated} {truncated}")
            over = terminated or truncated
    return answers


def go_on(name: str, state: dict | None, seed: int, actions: list[int], last: list) -> list:
    """What a fresh environment does from a captured state, or else from its seed and actions."""
    env = long_env(name)
    if state is not None:
        restore(env, state)
    else:
        assert replay(env, seed, actions).tolist() == last
    return played(env, 3, seed=1, midway=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_another_process_goes_on_exactly(tmp_path):
    saved, expected = [], []
    for name in ("CartPole-v1", "LunarLander-v3"):
        env = long_env(name)
        played(env, 3, seed=0)
        obs, _ = env.reset(seed=9)
        actions = [k % 2 for k in range(8)]
        for action in actions:
            obs, _, terminated, truncated, _ = env.step(action)
            assert not terminated and not truncated
        saved.append({"name": name, "state": capture(env), "seed": 9, "actions": actions, "last": obs.tolist()})
        expected.append(played(env, 3, seed=1, midway=True))
    assert saved[0]["state"] is not None and saved[1]["state"] is None
    (tmp_path / "saved.json").write_text(json.dumps(saved))
    code = (
        "import json, pathlib, sys; from tests.envs.test_snapshot import go_on; "
        "print(json.dumps([go_on(**one) for one in json.loads(pathlib.Path(sys.argv[1]).read_text())]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "saved.json")]
    surroundings = {**os.environ, "PYTHONHASHSEED": "7"}
    answer = subprocess.run(command, capture_output=True, text=True, env=surroundings, cwd=Path(__file__).parents[2])
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout.splitlines()[-1]) == expected
    assert all(len(answers) > 40 for answers in expected)


def test_a_copy_does_not_disturb_what_it_was_taken_from():
    env = frames()
    env.reset(seed=1)
    twin = copy.deepcopy(env)
    copied(frames(), env).step(0)
    assert env.step(1)[0].tolist() == twin.step(1)[0].tolist()
