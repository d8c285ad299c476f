"""Policies: what goes in and out, and files that hold numbers and nothing else."""

import copy
import json
import warnings
from collections import OrderedDict
from functools import reduce

import gymnasium
import hypothesis
import hypothesis.extra.numpy
import jax
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import strategies as st

import polyak
from polyak.agent import Spec
from polyak.errors import BadFile, BadSetting
from polyak.runs.spaces import BOX_TYPES, check_can_be_kept, check_space, space_from_json, space_to_json
from polyak.spaces import parts

SPACES = {
    "box": gymnasium.spaces.Box(np.array([-1.0, -np.inf], np.float32), np.array([1.0, np.inf], np.float32)),
    "image": gymnasium.spaces.Box(0, 255, (4, 4, 3), np.uint8),
    "discrete": gymnasium.spaces.Discrete(5, start=2),
}
ALGORITHMS = {
    "dqn": polyak.DQN(network=polyak.Dueling((8,))),
    "recurrent-dqn": polyak.RecurrentDQN(network=polyak.Recurrent(polyak.MLP((8,)), "lstm", 8)),
    "ppo": polyak.PPO(n_steps=8, batch_size=8, normalize_observation=True, network=polyak.MLP((8,))),
}


def make_policy(algorithm: str = "dqn", space: str = "box", key: int = 0) -> polyak.Policy:
    spec = Spec(SPACES[space], gymnasium.spaces.Discrete(3), 1, 200, 1000)
    agent = ALGORITHMS[algorithm].agent(spec)
    return polyak.Policy(ALGORITHMS[algorithm], spec, agent.policy(agent.init(jax.random.key(key))), "Some-v0")


SOME_POLICY = make_policy()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("space", SPACES)
def test_a_saved_policy_acts_as_before_and_keeps_its_spaces(algorithm, space, tmp_path):
    policy = make_policy(algorithm, space)
    policy.save(tmp_path / "p.safetensors")
    loaded = polyak.load(tmp_path / "p.safetensors")
    obs = np.stack([SPACES[space].sample() for _ in range(20)])
    assert np.array_equal(policy(obs), loaded(obs))
    assert loaded.spec == policy.spec
    assert loaded.algorithm == policy.algorithm


@pytest.mark.parametrize(
    "actions",
    [
        gymnasium.spaces.Box(-2.0, 2.0, (2,), np.float32),
        gymnasium.spaces.Box(0.09, 0.1, (2,), np.float64),
        gymnasium.spaces.MultiDiscrete([[2, 3], [4, 1]], start=[[0, 1], [0, 0]]),
        gymnasium.spaces.MultiBinary(3),
        gymnasium.spaces.MultiBinary([2, 2]),
    ],
)
def test_a_saved_policy_keeps_actions_of_every_kind(actions, tmp_path):
    spec = Spec(SPACES["box"], actions, 1, 200, 1000)
    agent = ALGORITHMS["ppo"].agent(spec)
    policy = polyak.Policy(ALGORITHMS["ppo"], spec, agent.policy(agent.init(jax.random.key(0))), "Some-v0")
    policy.save(tmp_path / "p.safetensors")
    loaded = polyak.load(tmp_path / "p.safetensors")
    assert loaded.spec == spec
    obs = np.stack([SPACES["box"].sample() for _ in range(20)])
    chosen = loaded(obs)
    assert np.array_equal(policy(obs), chosen)
    assert chosen.dtype == actions.dtype and all(actions.contains(action) for action in chosen)
    loaded.check_actions(actions, "Some-v0")
    with pytest.raises(BadSetting, match="The policy's actions are"):
        loaded.check_actions(gymnasium.spaces.MultiBinary(7), "Other-v0")


def test_a_saved_policy_keeps_spaces_of_parts_and_takes_and_gives_their_members(tmp_path):
    """In the order of their keys, which Gymnasium would sort."""
    observed = gymnasium.spaces.Dict(OrderedDict(z=SPACES["box"], a=gymnasium.spaces.Tuple([SPACES["discrete"]])))
    acted = gymnasium.spaces.Dict({"go": gymnasium.spaces.Discrete(3), "by": gymnasium.spaces.Box(-1.0, 1.0, (2,))})
    spec = Spec(observed, acted, 1, 200, 1000)
    agent = ALGORITHMS["ppo"].agent(spec)
    policy = polyak.Policy(ALGORITHMS["ppo"], spec, agent.policy(agent.init(jax.random.key(0))), "Some-v0")
    policy.save(tmp_path / "p.safetensors")
    loaded = polyak.load(tmp_path / "p.safetensors")
    assert loaded.spec == spec
    assert list(loaded.spec.observation_space) == ["z", "a"]
    assert acted.contains(jax.tree.map(lambda leaf: leaf, loaded({"z": [0.5, 2.0], "a": (6,)})))
    batch = loaded({"z": [[0.5, 2.0], [-0.5, 1.0]], "a": ([6, 3],)})
    assert (batch["go"].shape, batch["by"].shape) == ((2,), (2, 2))
    with pytest.raises(BadSetting, match=r"should have \['z', 'a'\]"):
        loaded({"z": [0.5, 2.0]})


def test_a_policy_is_not_evaluated_where_parts_stand_in_another_order():
    """Both spaces are equal for Gymnasium, and their rows are not."""
    parts = {"z": SPACES["box"], "a": gymnasium.spaces.Discrete(3)}
    own, other = (gymnasium.spaces.Dict(OrderedDict((key, parts[key]) for key in keys)) for keys in ("za", "az"))
    spec = Spec(own, gymnasium.spaces.Discrete(2), 1, 200, 1000)
    agent = ALGORITHMS["ppo"].agent(spec)
    policy = polyak.Policy(ALGORITHMS["ppo"], spec, agent.policy(agent.init(jax.random.key(0))), "Some-v0")
    policy.check_spaces(own, spec.action_space, "Some-v0")
    with pytest.raises(BadSetting, match=r"The policy reads observations of Dict.*and those of Other-v0 are"):
        policy.check_spaces(other, spec.action_space, "Other-v0")


def test_the_parts_of_a_space_together_may_not_be_larger_than_their_file():
    part = {"kind": "Box", "shape": [60_000], "dtype": "float64", "low": ["0.0"], "high": ["1.0"]}
    for count, nested in ((1, part), (2, {"kind": "Tuple", "parts": [part, part]})):
        check_space(nested, "")
        if count == 1:
            space_from_json(nested, 1_000)
        else:
            with pytest.raises(ValueError, match="too small for a space of 120,000 entries"):
                space_from_json(nested, 1_000)


INTEGERS = st.sampled_from([np.int8, np.uint8, np.int16, np.int32, np.uint32, np.int64])
SHAPES = st.lists(st.integers(0, 3), max_size=3).map(tuple)


@st.composite
def boxes(draw) -> gymnasium.Space:
    kind, shape = np.dtype(draw(st.sampled_from(BOX_TYPES))), draw(SHAPES)
    bounds = hypothesis.extra.numpy.arrays(
        kind, (2, *shape), elements={"allow_nan": False} if kind.kind == "f" else None
    )
    low, high = map(np.asarray, np.sort(draw(bounds), 0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of bounds that a float16 holds as infinite
        return gymnasium.spaces.Box(low, high, shape, kind.type)


@st.composite
def multi_discretes(draw) -> gymnasium.Space:
    kind, shape = draw(INTEGERS), draw(SHAPES.filter(lambda shape: 0 not in shape))
    nvec = draw(hypothesis.extra.numpy.arrays(kind, shape, elements=st.integers(1, 9)))
    start = draw(hypothesis.extra.numpy.arrays(kind, shape, elements=st.integers(0, 9)))
    return gymnasium.spaces.MultiDiscrete(nvec, dtype=kind, start=start)


PLAIN_SPACES = st.one_of(
    st.builds(
        lambda n, start, dtype: gymnasium.spaces.Discrete(n, start=start, dtype=dtype),
        st.integers(1, 100), st.integers(0, 20), INTEGERS,
    ),
    st.one_of(st.integers(1, 5), st.lists(st.integers(1, 3), min_size=1, max_size=3)).map(gymnasium.spaces.MultiBinary),
    multi_discretes(),
    boxes(),
)  # fmt: skip
KEPT_SPACES = st.recursive(
    PLAIN_SPACES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(gymnasium.spaces.Tuple),
        st.lists(st.tuples(st.sampled_from("zaxby"), inner), max_size=3, unique_by=lambda item: item[0]).map(
            lambda items: gymnasium.spaces.Dict(OrderedDict(items))
        ),
    ),
    max_leaves=5,
)


@hypothesis.settings(max_examples=300, deadline=None, derandomize=True)
@hypothesis.given(space=KEPT_SPACES)
def test_every_space_comes_out_of_a_file_as_it_went_in(space):
    check_can_be_kept(space)
    written = json.loads(json.dumps(space_to_json(space)))
    check_space(written, "")
    found = space_from_json(written, 10**6)
    assert found == space and parts(found) == parts(space)  # the order of parts too
    for one, other in zip(parts(found), parts(space), strict=True):
        assert (one.space.shape, one.space.dtype) == (other.space.shape, other.space.dtype)
        if isinstance(one.space, gymnasium.spaces.Box):  # whose equality is not exact
            assert np.array_equal(one.space.low, other.space.low) and np.array_equal(one.space.high, other.space.high)
    policy = copy.copy(SOME_POLICY)
    policy.spec = Spec(found, found, 1, None, 1000)
    policy.check_spaces(space, space, "Some-v0")


@pytest.mark.parametrize(
    "space",
    [
        gymnasium.spaces.Dict({1: SPACES["box"]}),
        gymnasium.spaces.Dict({"k" * 300: SPACES["box"]}),
        gymnasium.spaces.Tuple([SPACES["discrete"]] * 1001),
        reduce(lambda inner, _: gymnasium.spaces.Tuple([inner]), range(30), SPACES["box"]),
    ],
    ids=["number for a key", "long key", "many parts", "deep"],
)
def test_spaces_that_no_file_can_keep_are_refused_before_training(space):
    with pytest.raises(BadSetting, match=r"A policy for .* cannot be saved"):
        check_can_be_kept(space)


def test_a_table_is_saved_with_its_parts(tmp_path):
    algorithm = polyak.QLearning(learning_rate=polyak.StepSize(0.5, 0.1), exploration=polyak.UCB(1.5))
    spec = Spec(SPACES["discrete"], gymnasium.spaces.Discrete(3, start=-1), 1, None, 1000)
    agent = algorithm.agent(spec)
    state = agent.init(jax.random.key(0))
    state = state._replace(q=jax.random.normal(jax.random.key(1), state.q.shape))
    policy = polyak.Policy(algorithm, spec, agent.policy(state), "Some-v0")
    policy.save(tmp_path / "p")
    loaded = polyak.load(tmp_path / "p")
    assert loaded.algorithm == algorithm
    rows = np.arange(2, 7)
    assert (loaded(rows) == state.q.argmax(1) - 1).all()


def test_a_player_remembers_each_episode_by_itself_and_a_call_remembers_nothing():
    policy = make_policy("recurrent-dqn")
    policy.state = jax.tree.map(lambda leaf: 5 * leaf, policy.state)  # so that it matters what is remembered
    obs = np.random.default_rng(0).normal(size=(12, 5, 2)).astype(np.float32)
    both, alone = policy.player(5), policy.player(1)
    first = np.zeros((12, 5), bool)
    first[0] = first[7, 2] = True
    actions = [both(obs[t], first[t]) for t in range(12)]
    for t in range(12):
        assert alone(obs[t, 2:3], first[t, 2:3])[0] == actions[t][2]  # whatever the others do
    fresh = [policy(obs[t]) for t in range(12)]
    assert all(np.array_equal(policy(obs[t]), fresh[t]) for t in (0, 5))
    assert fresh[0].tolist() == actions[0].tolist() and fresh[7][2] == actions[7][2]
    assert any(fresh[t].tolist() != actions[t].tolist() for t in range(1, 12))
    with pytest.raises(BadSetting, match="observations of shape"):
        both(obs[0, :4], first[0, :4])


def test_policies_of_one_training_compile_their_step_once(caplog):
    policy = make_policy()
    others = [policy.with_state(make_policy(key=key).state) for key in range(1, 5)]
    obs = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    with jax.log_compiles():
        actions = [one(obs).tolist() for one in (policy, *others)]
    assert sum(message.startswith("Compiling jit(step)") for message in caplog.messages) == 1
    assert actions == [make_policy(key=key)(obs).tolist() for key in range(5)]
    assert len(set(map(str, actions))) > 1


def test_the_same_policy_writes_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        make_policy().save(tmp_path / name)
    make_policy(key=1).save(tmp_path / "c")
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c


def test_a_policy_file_holds_what_acting_needs_and_no_replay(tmp_path):
    make_policy().save(tmp_path / "p")
    names = safetensors.numpy.load_file(tmp_path / "p")
    assert names and not any("replay" in name or "optimiser" in name for name in names)


def test_one_observation_gives_one_action_and_a_batch_gives_a_batch():
    policy = make_policy()
    batch = np.array([[0.5, -0.5], [0.1, 3.0]], np.float32)
    assert policy(batch).shape == (2,)
    assert policy(batch[0]).shape == ()
    assert policy(batch[0]) == policy(batch)[0]


def test_an_observation_of_another_shape_is_refused_in_a_sentence():
    with pytest.raises(polyak.Error, match=r"shape \(2,\)"):
        make_policy()(np.zeros(3))


def rewrite(path, change_about=lambda about: about, change_tensors=lambda tensors: tensors):
    with safetensors.safe_open(path, framework="numpy") as file:
        about = json.loads(file.metadata()["polyak"])
    tensors = change_tensors(safetensors.numpy.load_file(path))
    path.write_bytes(safetensors.numpy.save(tensors, metadata={"polyak": json.dumps(change_about(about))}))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-7]),
        lambda path: path.write_bytes(b"\x80\x04}." + path.read_bytes()),
        lambda path: path.write_bytes(safetensors.numpy.save({"x": np.zeros(2)})),
        lambda path: rewrite(path, lambda about: about | {"format": 99}),
        lambda path: rewrite(path, lambda about: about | {"algorithm": "os.system"}),
        lambda path: rewrite(path, lambda about: about | {"settings": about["settings"] | {"gamma": "0.9"}}),
        lambda path: rewrite(path, lambda about: about | {"settings": about["settings"] | {"unheard_of": 1}}),
        lambda path: rewrite(path, lambda about: {k: v for k, v in about.items() if k != "action_space"}),
        lambda path: rewrite(path, change_tensors=lambda t: {**t, "extra": np.zeros(1)}),
        lambda path: rewrite(path, change_tensors=lambda t: {k: v.astype(np.float16) for k, v in t.items()}),
    ],
    ids=["missing", "empty", "cut", "pickle", "foreign", "format", "name", "type", "setting", "space", "more", "dtype"],
)
def test_a_damaged_file_is_named_in_one_sentence(damage, tmp_path):
    path = tmp_path / "p.safetensors"
    make_policy().save(path)
    damage(path)
    with pytest.raises(polyak.Error) as caught:
        polyak.load(path)
    assert "\n" not in str(caught.value)


def test_a_file_with_a_space_of_a_thousand_choices_is_named_in_one_short_sentence(tmp_path):
    make_policy().save(tmp_path / "p")
    many = space_to_json(gymnasium.spaces.MultiDiscrete([2] * 1_000))
    many = {"kind": "Tuple", "parts": [many] * 9}
    rewrite(
        tmp_path / "p",
        lambda about: {k: v for k, v in about.items() if k != "sha256"} | {"format": 1, "action_space": many},
    )
    with pytest.raises(BadFile, match="needs discrete actions") as caught:
        polyak.load(tmp_path / "p")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1_000


def test_a_policy_for_spaces_that_cannot_be_kept_is_refused():
    with pytest.raises(polyak.Error):
        ALGORITHMS["dqn"].agent(Spec(gymnasium.spaces.Text(3), gymnasium.spaces.Discrete(2), 1, None, 10)).init(
            jax.random.key(0)
        )
    assert issubclass(BadFile, polyak.Error)
