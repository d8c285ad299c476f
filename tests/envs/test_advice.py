"""Spaces that polyak cannot take, or takes at a price: told in a sentence, with the wrapper that helps."""

from unittest.mock import Mock

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Dict, Discrete, Graph, MultiBinary, MultiDiscrete, OneOf, Sequence, Text, Tuple
from gymnasium.wrappers import FilterObservation, FlattenObservation, TransformObservation

import polyak
from polyak.envs import PROBES, make
from polyak.envs.advice import Caution, caution
from polyak.errors import BadSetting, EnvironmentFault
from polyak.spaces import MASK
from tests.envs.broken import Moody

SMALL = Box(0, 255, (2,), np.uint8)


def with_spaces(observed: gymnasium.Space = SMALL, acted: gymnasium.Space = Moody.action_space) -> type[Moody]:
    return type("Given", (Moody,), {"observation_space": observed, "action_space": acted})


WIDE = {
    "a count of 64 bits": (
        Box(0, 2**40, (2,), np.int64),
        "holds whole numbers from 0 to 1,099,511,627,776, and polyak keeps those from -2,147,483,648 to 2,147,483,647",
    ),
    "a bound of 64 bits in one place": (
        Box(np.array([-(2**31) - 1, 0]), np.array([0, 1]), dtype=np.int64),
        "from -2,147,4",
    ),
    "unsigned": (Box(0, 2**32 - 2, (2,), np.uint32), "to 4,294,967,294"),
    "many": (Discrete(2**40), "to 1,099,511,627,775"),
    "a far start": (Discrete(3, start=2**31), "from 2,147,483,648"),
    "many choices": (MultiDiscrete([2, 3], start=[0, 2**31]), "to 2,147,483,650"),
    "a part": (
        Dict({"level": Discrete(3), "inner": Tuple([Discrete(2**24 + 2)])}),
        r"Part \['inner'\]\[0\] of the {kind} space, Discrete\(16777218\), holds whole numbers from 0 to 16,777,217, "
        "and beside other parts polyak keeps those from -16,777,216 to 16,777,216",
    ),
}


@pytest.mark.parametrize("title", WIDE)
@pytest.mark.parametrize(("kind", "wrapper"), [("observation", "TransformObservation"), ("action", "TransformAction")])
def test_whole_numbers_that_cannot_be_kept_are_refused_with_the_wrapper_that_helps(title, kind, wrapper):
    space, says = WIDE[title]
    with pytest.raises(EnvironmentFault, match=f"^Given: .*{says.format(kind=kind)}.*{wrapper}") as told:
        make(with_spaces(**{{"observation": "observed", "action": "acted"}[kind]: space}))
    assert str(told.value).count("\n") == 0 and str(told.value).endswith(".")


def test_a_compiled_environment_is_refused_alike():
    wide = PROBES["probe/two-steps"]()._replace(observation_space=Discrete(2**31 + 1))
    with pytest.raises(EnvironmentFault, match=r"^probe/two-steps: The observation space Discrete"):
        make(wide)


class Mission(gymnasium.Space):
    """A kind of space of somebody else's, as MiniGrid's."""

    def __init__(self):
        super().__init__(dtype=str)

    def sample(self, mask=None, probability=None):
        return "get the red ball"

    def contains(self, x):
        return isinstance(x, str)


class Seeing(gymnasium.Env):
    """Shows random members of its observation space, in episodes of ten steps."""

    action_space = Discrete(3)

    def __init__(self):
        self.observation_space.seed(0)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        self.steps += 1
        return self.observation_space.sample(), 0.0, self.steps == 10, False, {}


def seeing(space: gymnasium.Space) -> type[Seeing]:
    return type("Seeing", (Seeing,), {"observation_space": space})


SCREEN, GRID, LEVEL = Box(0, 255, (36, 48, 3), np.uint8), Box(0, 255, (7, 7, 3), np.uint8), Box(0.0, 9.0, (2,))
ALONE = "TransformObservation(env, lambda obs: obs['screen'], env.observation_space['screen'])"
NOT_TAKEN = {
    "text": (Text(5), "The observation space Text holds no arrays", "TransformObservation."),
    "graph": (Graph(LEVEL, None), "The observation space Graph holds no arrays", "TransformObservation."),
    "sequence": (Sequence(LEVEL), "The observation space Sequence holds no arrays", "TransformObservation."),
    "one of": (OneOf([LEVEL, Discrete(2)]), "The observation space OneOf holds no arrays", "FlattenObservation."),
    "minigrid": (
        Dict({"direction": Discrete(4), "image": GRID, "mission": Mission()}),
        "Part ['mission'] of the observation space, Mission, holds no arrays",
        "keep the others with gymnasium.wrappers.FilterObservation(env, ['direction', 'image']).",
    ),
    "a screen and text": (
        Dict({"said": Text(5), "screen": SCREEN}),
        "Part ['said'] of the observation space, Text, holds no arrays",
        f"keep the picture alone with gymnasium.wrappers.{ALONE}.",
    ),
    "text within": (
        Dict({"inner": Dict({"said": Text(5), "level": LEVEL})}),
        "Part ['inner']['said'] of the observation space, Text, holds no arrays",
        "leave it out, or encode it, with gymnasium.wrappers.TransformObservation.",
    ),
    "text in a tuple": (Tuple([Text(5), LEVEL]), "Part [0] of the observation space, Text,", "TransformObservation."),
}


@pytest.mark.parametrize("title", NOT_TAKEN)
def test_observations_that_are_no_arrays_are_refused_with_the_wrapper_that_helps(title, tmp_path):
    """By `make`, by `check` and by `train`, in the same words."""
    space, says, helps = NOT_TAKEN[title]
    (finding,) = (one for one in polyak.check(seeing(space), episodes=1) if one.name == "space-not-supported")
    assert finding.severity == "error" and "\n" not in finding.sentence
    assert finding.sentence.startswith(says) and finding.sentence.endswith(helps)
    with pytest.raises(EnvironmentFault) as told:
        make(seeing(space))
    assert str(told.value) == f"Seeing: {finding.sentence}"
    with pytest.raises(EnvironmentFault) as told:
        polyak.train("ppo", seeing(space), steps=100, out=tmp_path, processes=0)
    assert str(told.value).startswith(f"Seeing: {finding.sentence}") and not list(tmp_path.iterdir())


def test_actions_that_are_no_arrays_are_refused_with_the_wrapper_that_helps():
    with pytest.raises(EnvironmentFault, match=r"Part \[0\] of the action space, Text, .*wrappers.TransformAction\.$"):
        make(with_spaces(acted=Tuple([Text(5), Discrete(2)])))


@pytest.mark.parametrize(
    ("title", "wrap"),
    [
        ("minigrid", lambda env: FilterObservation(env, ["direction", "image"])),
        ("one of", FlattenObservation),
        (
            "a screen and text",
            lambda env: TransformObservation(env, lambda obs: obs["screen"], env.observation_space["screen"]),
        ),
    ],
)
def test_what_is_advised_helps(title, wrap):
    space, _, _ = NOT_TAKEN[title]
    vector = make(lambda: wrap(seeing(space)()), 2)
    assert np.isfinite(vector.reset(0)).all() and caution(vector.observation_space) is None
    assert vector.observation_space.dtype == np.uint8 or title != "a screen and text"


def test_a_picture_among_parts_works_and_is_told_with_the_wrapper_that_helps():
    env = seeing(Dict({"gamevariables": LEVEL, "screen": SCREEN}))
    (finding,) = (one for one in polyak.check(env, episodes=1) if one.name == "picture-among-parts")
    assert finding.severity == "warning"
    assert finding.sentence.startswith(
        "Part ['screen'] of the observation space, Box(0, 255, (36, 48, 3), uint8), is a"
    )
    assert finding.sentence.endswith(f"keep it alone with gymnasium.wrappers.{ALONE}.")
    with pytest.warns(Caution) as told:
        make(env)
    assert [str(one.message) for one in told] == [f"Seeing: {finding.sentence}"]


@pytest.mark.parametrize("named", [True, False], ids=["id", "function"])
def test_training_tells_once_of_a_picture_among_parts(named, tmp_path, capfd, monkeypatch):
    """Of a function before it begins, of an id where it is made; what comes later is left out here."""
    screens = seeing(Dict({"level": LEVEL, "screen": SCREEN}))
    monkeypatch.setitem(gymnasium.registry, "Screens-v0", EnvSpec("Screens-v0", screens))
    monkeypatch.setattr("polyak.parts.capacity.check_fits", Mock(side_effect=BadSetting("That is enough.")))
    with pytest.raises(BadSetting, match="enough"):
        polyak.train("ppo", "Screens-v0" if named else screens, steps=100, out=tmp_path, processes=0)
    assert capfd.readouterr().err.replace("\n", " ").count("is a picture beside other parts") == 1


@pytest.mark.parametrize(
    "space",
    [
        SCREEN,
        Dict({"screen": SCREEN}),
        Dict({"observation": SCREEN, MASK: MultiBinary(3)}),
        Dict({"direction": Discrete(4), "image": GRID}),
        Dict({"rays": Box(0.0, 1.0, (2_000,)), "level": LEVEL}),
    ],
    ids=["alone", "the only part", "beside a mask", "small", "not a picture"],
)
def test_no_price_is_told_where_there_is_none(space):
    assert caution(space) is None
