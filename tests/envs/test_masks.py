"""Masks from `info` and from a method, and an environment in which most actions are illegal."""

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiDiscrete

import polyak
from polyak.agent import Spec, Step
from polyak.envs import make, make_original
from polyak.errors import BadSetting, EnvironmentFault, UnknownName
from polyak.parts.networks import MLP
from polyak.spaces import MASKED, sample
from tests import small
from tests.speeds import slow

ACTIONS, ROUNDS = 20, 8


class Doors(gymnasium.Env):
    """Eight times two of twenty doors are there, neighbours; behind the second is 1, behind the first nothing.

    To open a door that is not there is an error, so that none is opened if training ends.
    """

    observation_space = Box(0.0, 1.0, (ACTIONS,), np.float32)
    action_space = Discrete(ACTIONS)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.round = 0
        return self._see(), {"action_mask": self.there}

    def step(self, action):
        if not self.there[action]:
            raise ValueError(f"door {action} is not there")
        self.round += 1
        reward = float(action == self.first + 1)
        return self._see(), reward, self.round == ROUNDS, False, {"action_mask": self.there}

    def _see(self):
        self.first = int(self.np_random.integers(ACTIONS - 1))
        self.there = np.zeros(ACTIONS, np.int8)
        self.there[self.first : self.first + 2] = 1
        return self.there.astype(np.float32)


class AskedDoors(Doors):
    """Tells by a method, and rules out nothing in `info`."""

    def action_masks(self):
        return self.there == 1

    def step(self, action):
        return *super().step(action)[:4], {"action_mask": np.ones(ACTIONS, np.int8)}


def masked_doors():
    return polyak.MaskActions(Doors())


def test_ninety_percent_are_illegal_and_the_best_are_learnt_without_one_of_them(tmp_path):
    """In training and in the hundred episodes after it; a random legal policy earns 4, the best 8."""
    algorithm = polyak.PPO(learning_rate=3e-3, n_steps=32, batch_size=64, network=MLP((32,), "tanh"))
    run = polyak.train(algorithm, masked_doors, steps=16_000, out=tmp_path, progress=False, processes=0)
    assert run.scores.mean > 7.5
    seen = {"observation": np.zeros(ACTIONS), "action_mask": np.arange(ACTIONS) == 13}
    assert run.policy()(seen) == 13


@pytest.mark.parametrize("kind", [Doors, AskedDoors])
def test_the_mask_stands_beside_the_observation(kind):
    env = polyak.MaskActions(kind())
    begun, _ = env.reset(seed=0)
    assert env.observation_space.contains(begun)
    for obs in (begun, env.step(env.unwrapped.first)[0]):
        np.testing.assert_array_equal(obs["action_mask"], obs["observation"])
        assert obs["action_mask"].sum() == 2


def test_a_prefix_masks_an_id():
    vector, original = make("masked:Taxi-v4", 2), make_original("masked:Taxi-v4")
    assert vector.id == "masked:Taxi-v4"
    assert vector.observation_space == original.observation_space
    np.testing.assert_array_equal(vector.reset(3).shape, (2, 1 + 6))
    obs, info = original.reset(seed=3)
    np.testing.assert_array_equal(obs["action_mask"], info["action_mask"])


class Answering(Doors):
    """Gives whatever mask it is told to."""

    def __init__(self, mask, space=None):
        self.mask, self.action_space = mask, space or Discrete(ACTIONS)

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0], {} if self.mask is None else {"action_mask": self.mask}


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (None, "there is no mask: return one as info"),
        (np.ones(3), r"shape \(3,\), and there are 20 actions"),
        (np.zeros(ACTIONS), "rules out every action"),
        (np.ones((2, ACTIONS)), r"shape \(2, 20\), and there are 20 actions"),
    ],
)
def test_a_wrong_mask_is_told_in_a_sentence(mask, says):
    with pytest.raises(EnvironmentFault, match=says):
        make(lambda: polyak.MaskActions(Answering(mask))).reset(0)


def test_several_choices_have_one_mask_after_the_other_and_each_leaves_something():
    def answering(*masks):
        return lambda: polyak.MaskActions(Answering(tuple(map(np.array, masks)), MultiDiscrete([2, 3])))

    assert answering([1, 0], [0, 1, 1])().reset(seed=0)[0]["action_mask"].tolist() == [1, 0, 0, 1, 1]
    make(answering([1, 0], [0, 1, 1])).reset(0)
    with pytest.raises(EnvironmentFault, match="rules out every action; expected at least one, or of each choice one"):
        make(answering([0, 0], [1, 1, 1])).reset(0)


class Masker(gymnasium.Wrapper):
    """As sb3-contrib's ActionMasker is: the mask comes from a wrapper."""

    def action_masks(self, *unused):
        return np.arange(ACTIONS) < 3


def test_the_mask_of_a_wrapper_is_found():
    assert polyak.MaskActions(Masker(Doors())).reset(seed=0)[0]["action_mask"].sum() == 3


@pytest.mark.parametrize("space", [Discrete(4, start=2), MultiDiscrete([[2, 3]], start=[[5, 0]])])
def test_random_actions_are_among_those_that_are_there(space):
    count = 4 if isinstance(space, Discrete) else 5
    seen = gymnasium.spaces.Dict({"action_mask": gymnasium.spaces.MultiBinary(count), "x": Box(0, 1)})
    mask = np.array([0, 1, 0, 1, 0][:count])
    drawn = [sample(space, seen, {"action_mask": mask, "x": [0.5]}) for _ in range(30)]
    assert all(space.contains(action) for action in drawn)
    expected = {3, 5} if isinstance(space, Discrete) else {(6, 1)}
    assert {int(action) if isinstance(space, Discrete) else tuple(action.ravel()) for action in drawn} == expected
    for wrong in (None, {"x": [0.5]}, {"action_mask": mask * 0, "x": [0.5]}):
        assert space.contains(sample(space, seen, wrong))


def test_a_mask_of_any_shape_has_an_entry_for_each_action():
    """Two choices of three as a table: the second row leaves only its last."""
    mask = gymnasium.spaces.MultiBinary((2, 3))
    spec = Spec(gymnasium.spaces.Dict({"action_mask": mask, "x": Box(0, 1)}), MultiDiscrete([3, 3]), 2, None, 1000)
    agent = polyak.PPO(network=MLP((4,))).agent(spec)
    rows = np.float32([[1, 1, 1, 0, 0, 1, 0.5]] * 2)
    action = agent.act(agent.init(jax.random.key(0)), (), rows, agent.noise(jax.random.key(1), (2,)), True)[0]
    assert action[:, 1].tolist() == [2, 2]


def test_what_gives_no_mask_cannot_be_had_with_one():
    with pytest.raises(BadSetting, match="take it as tic-tac-toe, not as masked:tic-tac-toe"):
        make("masked:tic-tac-toe")
    with pytest.raises(UnknownName, match="did you mean Taxi"):
        make("masked:Txai-v4")


QUICK = ("reinforce", "impala")  # to compile
KNOWING = [name for name in MASKED.replace(" and ", ", ").split(", ") if name != "alphazero"]  # which sees positions


@pytest.mark.parametrize("name", [name if name in QUICK else slow(name) for name in KNOWING])
def test_agents_that_know_masks_draw_what_is_there_alone_and_learn_from_it(name):
    spec = Spec(masked_doors().observation_space, Doors.action_space, 8, None, 1000)
    algorithm = small.algorithm(name, network="mlp:4")
    agent = algorithm.agent(spec)
    shape = algorithm.block_length, 8
    masks = np.random.default_rng(0).permuted(np.tile(np.arange(ACTIONS) < 3, (*shape, 1)), axis=-1)
    rows = np.concatenate([masks, masks], -1).astype(np.float32)  # the parts in the order of their names
    state, noise = agent.init(jax.random.key(0)), agent.noise(jax.random.key(1), shape)
    action, _, extras = jax.vmap(lambda obs, noise: agent.act(state, agent.start(8), obs, noise, True))(rows, noise)
    assert np.take_along_axis(masks, np.asarray(action)[..., None], -1).all()
    over = np.zeros(shape, bool)
    block = Step(rows, action, np.ones(shape, np.float32), over, over, rows, extras)
    state, metrics = jax.jit(agent.learn)(agent.observe(state, block), block, jax.random.key(2))
    assert np.isfinite(list(metrics.values())).all()  # no logarithm of an action that was ruled out
    chosen = agent.act(state, agent.start(8), rows[0], jax.tree.map(lambda leaf: leaf[0], noise), False)[0]
    assert np.take_along_axis(masks[0], np.asarray(chosen)[:, None], -1).all()


def test_masks_are_for_choices_and_for_agents_that_know_them():
    with pytest.raises(EnvironmentFault, match="needs Discrete or MultiDiscrete"):
        polyak.MaskActions(Answering(None, Box(-1.0, 1.0)))
    spaces = masked_doors().observation_space, Doors.action_space
    with pytest.raises(
        BadSetting, match=r"DQN cannot rule actions out by a mask; ppo, a2c, .* impala, appo, a3c and alphazero can"
    ):
        polyak.DQN().agent(Spec(*spaces, 1, None, 1000))
    with pytest.raises(BadSetting, match="A mask has one entry for each choice"):
        polyak.PPO().agent(Spec(spaces[0], Discrete(3), 8, None, 1000))
