"""Whatever is written on one line is read back as the same value, for every part and for whole algorithms."""

import dataclasses
import json
import types
import typing

import pytest
from hypothesis import Phase, given, settings, strategies as st

from polyak.algorithms import ALGORITHMS
from polyak.parts import action_noise, exploration, features, optimise, priors, sampling
from polyak.parts.action_noise import ActionNoise
from polyak.parts.exploration import Exploration
from polyak.parts.features import Features
from polyak.parts.networks import NETWORKS, Network, Recurrent
from polyak.parts.optimise import Optimizer
from polyak.parts.policies import TabularPolicy
from polyak.parts.priors import Prior
from polyak.parts.ranges import Range
from polyak.parts.replay import Sampling
from polyak.parts.schedules import StepSize
from polyak.parts.text import part_text
from polyak.settings import PARTS, build, describe


def allowed(hint, limits=None):
    """All values that an annotation allows."""
    if typing.get_origin(hint) is typing.Annotated:
        return allowed(hint.__origin__, next((one for one in hint.__metadata__ if isinstance(one, Range)), limits))
    if hint in FORMS and hint != float | StepSize:
        return FORMS[hint]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return st.one_of(allowed(one, limits) for one in typing.get_args(hint))
    if typing.get_origin(hint) is typing.Literal:
        return st.sampled_from(typing.get_args(hint))
    if hint is StepSize:
        return FORMS[float | StepSize]
    if hint is int:
        return st.integers(limits.low, limits.high) | st.sampled_from((*limits.also, limits.low))
    if hint is float:
        whole = [st.just(number) for number in (0, 1, 2, 1000, 2**53) if number in limits]
        return st.one_of(st.floats(limits.low, limits.high, exclude_min=limits.above, exclude_max=limits.below), *whole)
    return {bool: st.booleans(), types.NoneType: st.none()}[hint]


def made(kind, **fields):
    """Dataclasses of a kind, of all values that its fields allow, but for those that are given."""
    hints = typing.get_type_hints(kind, include_extras=True)
    others = {field.name: allowed(hints[field.name]) for field in dataclasses.fields(kind) if field.name not in fields}
    return st.builds(kind, **fields, **others)


@st.composite
def given_policies(draw):
    states, actions = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    if draw(st.booleans()):
        return TabularPolicy(draw(st.lists(st.integers(0, 2**40), min_size=states, max_size=states)))
    weight = st.lists(st.floats(1e-9, 1), min_size=actions, max_size=actions)
    rows = [draw(weight) for _ in range(states)]
    return TabularPolicy([[number / sum(row) for number in row] for row in rows])


FORMS = {}  # filled one by one, because `allowed` looks things up in it
LAYERS = {
    "hidden": st.lists(st.integers(1, 2**16), max_size=5).map(tuple),
    "noisy": st.none() | st.just(0.5) | st.floats(0, 1e30, exclude_min=True) | st.integers(1, 2**53),
}
FORMS[Network] = st.one_of(made(kind, **LAYERS) for kind in NETWORKS.values())
UNITS = {"core": st.sampled_from(Recurrent.CORES), "units": st.integers(1, 2**16), "window": st.integers(2, 2**12)}
FORMS[Recurrent] = made(Recurrent, **UNITS)
FORMS[Network | Recurrent] = FORMS[Network] | FORMS[Recurrent]
FORMS[Exploration] = st.one_of(made(kind) for kind in exploration.KINDS)
FORMS[Exploration | None] = st.none() | FORMS[Exploration]
FORMS[ActionNoise] = st.one_of(made(kind) for kind in action_noise.ACTION_NOISES.values())
FORMS[ActionNoise | None] = st.none() | FORMS[ActionNoise]
FORMS[Optimizer] = st.one_of(made(kind) for kind in optimise.OPTIMIZERS.values())
FORMS[Features] = st.one_of(made(kind) for kind in features.KINDS.values())
FORMS[Sampling] = st.one_of(made(kind) for kind in sampling.SAMPLINGS.values())
FORMS[Prior] = st.one_of(made(kind) for kind in priors.PRIORS.values())
FORMS[TabularPolicy] = st.just(TabularPolicy()) | given_policies()
FORMS[float | StepSize] = made(StepSize) | made(StepSize, power=st.just(1))


def test_every_part_that_has_a_text_form_is_checked_here():
    assert set(FORMS) == set(PARTS)


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (exploration.EpsilonGreedy(1, 0.05, 0.5), "epsilon:1.0:0.05:0.5"),
        (exploration.EpsilonGreedy(0.1), "epsilon:0.1"),
        (exploration.NoisyGreedy(1.0, None), "noise:1.0:none:1.0"),
        (exploration.UCB(2), "ucb:2.0"),
        (action_noise.GaussianNoise(), "normal:0.1"),
        (action_noise.OrnsteinUhlenbeckNoise(0.3), "ou:0.3:0.15:0.01"),
        (optimise.Adam(), "adam:1e-08"),
        (optimise.Adam(beta1=0.5), "adam:1e-08:0.5"),
        (sampling.Prioritised(), "prioritised:0.6:0.4:1.0"),
        (sampling.Prioritised(0.5, appraised=True), "prioritised:0.5:0.4:1.0:appraised"),
        (features.Tiles(), "tiles:8:8"),
        (priors.BetaPrior(), "beta:1.0:1.0"),
        (priors.NormalPrior(), "normal:0.0:1.0:1.0"),
    ],
)
def test_texts_of_parts_stay_as_checkpoints_have_them(part, text):
    assert part_text(part) == text


QUICK = settings(deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))  # to find a smaller one is slow


@pytest.mark.parametrize("part", FORMS, ids=str)
@settings(QUICK, max_examples=200)
@given(data=st.data())
def test_a_part_is_read_back_from_its_text_as_it_was(part, data):
    value = data.draw(FORMS[part])
    assert PARTS[part].read(PARTS[part].write(value)) == value


@pytest.mark.parametrize("kind", ALGORITHMS.values(), ids=ALGORITHMS)
@settings(QUICK, max_examples=20)
@given(data=st.data())
def test_an_algorithm_is_built_from_its_description_as_it_was(kind, data):
    algorithm = data.draw(made(kind))
    assert build(kind.name, json.loads(json.dumps(describe(algorithm)))) == algorithm
