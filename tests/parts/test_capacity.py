"""Replay memories that cannot fit are refused before they are allocated; nothing here allocates one either."""

import gymnasium
import jax
import numpy as np
import pytest

import polyak
from polyak import sitting
from polyak.agent import Spec
from polyak.algorithms.policy.ppo import PPO
from polyak.algorithms.value.dqn import DQN
from polyak.algorithms.value.recurrent_dqn import RecurrentDQN
from polyak.errors import BadSetting
from polyak.parts import capacity
from polyak.parts.capacity import GIB, check_fits, memory_left, replay_bytes
from polyak.parts.networks import MLP, Recurrent
from polyak.policy import Policy

PIXELS = 480 * 640 * 3
SCREEN = gymnasium.spaces.Box(0, 255, (480, 640, 3), np.uint8)
STACK = gymnasium.spaces.Box(0, 255, (4, 100, 100), np.uint8)
KEY = jax.random.key(0)
REST = 4 + 4 + 1 + 1  # bytes of action, reward and ends


def check(algorithm, space, num_envs: int = 1, copies: int = 1) -> None:
    spec = Spec(space, gymnasium.spaces.Discrete(2), num_envs, None, 1000)
    check_fits(algorithm, algorithm.agent(spec), copies)


@pytest.fixture
def one_gib(monkeypatch):
    monkeypatch.setattr(capacity, "memory_left", lambda: (GIB, "this machine"))


def test_the_sentence_has_the_arithmetic_and_what_fits(one_gib):
    algorithm = DQN(buffer_size=100_000, network=MLP((4,)))
    each = 2 * PIXELS + REST
    with pytest.raises(BadSetting) as caught:
        check(algorithm, SCREEN)
    assert str(caught.value) == (
        f"DQN's replay memory does not fit: 100,000 transitions x {each:,} bytes = {100_000 * each / GIB:.1f} GiB, but "
        "this machine has 1.0 GiB left; about 520 would fit (--buffer-size 520); where observations are stacks of "
        "frames, --frame-stack keeps each frame once."
    )
    check(DQN(buffer_size=520, network=MLP((4,))), SCREEN)
    with pytest.raises(BadSetting, match=rf"520 transitions x {each:,} bytes x 2 seeds .* about 260 would fit"):
        check(DQN(buffer_size=520, network=MLP((4,))), SCREEN, copies=2)


@pytest.mark.parametrize(
    ("algorithm", "space", "each"),
    [
        (DQN(network=MLP((4,))), STACK, 2 * 4 * 100**2 + REST),
        # a frame, how its stack begins and the number of finals; a fiftieth of the final frames
        (DQN(frame_stack=4, network=MLP((4,))), STACK, 100**2 * 51 / 50 + REST + 1 + 4),
        (RecurrentDQN(network=Recurrent(MLP((4,)), "gru", 4)), STACK, 2 * 4 * 100**2 + REST + 4 * 4 / 16),
        (DQN(network=MLP((4,))), gymnasium.spaces.Dict({"a": SCREEN, "b": gymnasium.spaces.Discrete(3)}),
         2 * 4 * (PIXELS + 1) + REST),
    ],
    ids=["transitions", "frames", "sequences", "rows"],
)  # fmt: skip
def test_every_store_is_counted(algorithm, space, each, monkeypatch):
    state = jax.eval_shape(algorithm.agent(Spec(space, gymnasium.spaces.Discrete(2), 1, None, 1000)).init, KEY)
    assert replay_bytes(state) == pytest.approx(algorithm.buffer_size * each, rel=1e-3)
    monkeypatch.setattr(capacity, "memory_left", lambda: (replay_bytes(state), "this machine"))
    check(algorithm, space)
    monkeypatch.setattr(capacity, "memory_left", lambda: (replay_bytes(state) - 1, "this machine"))
    with pytest.raises(BadSetting, match="does not fit") as caught:
        check(algorithm, space)
    assert ("--frame-stack" in str(caught.value)) == (getattr(algorithm, "frame_stack", 4) == 1)


def test_streamed_frames_are_counted_with_the_stacks_and_the_final_frames_of_all_blocks():
    algorithm = DQN(frame_stack=4, network=MLP((4,)))  # blocks of 4 steps: three older frames and a final one for each
    spec = Spec(STACK, gymnasium.spaces.Discrete(2), 1, None, 1000, streamed=True)
    state = jax.eval_shape(algorithm.agent(spec).init, KEY)
    each = 100**2 * (51 / 50 + (3 + 1) / 4) + REST + 1 + 4
    assert replay_bytes(state) == pytest.approx(algorithm.buffer_size * each, rel=1e-3)


def test_not_even_one_is_said_so(monkeypatch):
    monkeypatch.setattr(capacity, "memory_left", lambda: (1000, "this machine"))
    with pytest.raises(BadSetting, match="not even one would fit"):
        check(DQN(frame_stack=4, network=MLP((4,))), STACK)


def test_an_agent_without_a_replay_memory_always_fits(monkeypatch):
    monkeypatch.setattr(capacity, "memory_left", lambda: (0, "this machine"))
    check(PPO(network=MLP((4,))), STACK, num_envs=8)


def test_what_is_left_is_at_most_the_machine_and_its_limits(monkeypatch, tmp_path):
    left, place = memory_left()
    assert (2**20 < left < 2**50, place) == (True, "this machine")
    (tmp_path / "max").write_text("max\n")
    (tmp_path / "limit").write_text("1000\n")
    monkeypatch.setattr(capacity, "LIMITS", (str(tmp_path / "max"), str(tmp_path / "limit"), str(tmp_path / "none")))
    assert memory_left() == (1000, "this machine")


class Screens(gymnasium.Env):
    observation_space, action_space = SCREEN, gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(SCREEN.shape, np.uint8), {}

    def step(self, action):
        return np.zeros(SCREEN.shape, np.uint8), 0.0, False, False, {}


def test_training_refuses_it_and_a_policy_of_such_a_memory_can_still_be_loaded(tmp_path):
    huge = DQN(buffer_size=10**9, network=MLP((4,)))
    with pytest.raises(BadSetting, match=r"1,000,000,000 transitions x 1,843,210 bytes = 1,716,623"):
        polyak.train(huge, Screens, steps=100, processes=0, progress=False, out=tmp_path)
    spec = Spec(STACK, gymnasium.spaces.Discrete(2), 1, None, 1000)
    agent = DQN(buffer_size=4, network=MLP((4,))).agent(spec)
    Policy(huge, spec, agent.policy(agent.init(KEY)), "none").save(tmp_path / "policy.safetensors")
    assert polyak.load(tmp_path / "policy.safetensors").algorithm == huge


class Started(Exception):
    """Takes the place of worker processes."""


def test_workers_know_how_many_of_them_share_the_memory(monkeypatch, tmp_path):
    def start(works, *rest, **more):
        raise Started([work.args[0].side_by_side for work in works])

    monkeypatch.setattr(sitting, "Workers", start)
    with pytest.raises(Started) as caught:
        polyak.train(DQN(), "CartPole-v1", steps=100, seeds=5, processes=3, progress=False, out=tmp_path)
    assert caught.value.args == ([3, 3, 3],)
