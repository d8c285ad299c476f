"""Whatever is written on one line is read back as the same value, for every part and for whole algorithms."""

import json
import typing
from dataclasses import fields

import pytest
from hypothesis import given, settings, strategies as st

from polyak.algorithms import ALGORITHMS
from polyak.parts.exploration import UCB, Boltzmann, EpsilonGreedy, EpsilonLadder, Exploration, Greedy, NoisyGreedy
from polyak.parts.features import Features, Fourier, Polynomial, Radial, Raw, Tiles
from polyak.parts.networks import ACTIVATIONS, MLP, NETWORKS, Dueling, Network, Recurrent
from polyak.parts.optimise import Adam, Optimizer, RAdam, RMSProp
from polyak.parts.policies import TabularPolicy
from polyak.parts.replay import Prioritised, Sampling, Uniform
from polyak.parts.schedules import StepSize
from polyak.settings import PARTS, build, describe


def floats(low: int, high: float, exclude_min: bool = False):
    """Whole numbers too, as in `Boltzmann(2)`."""
    return st.floats(low, high, exclude_min=exclude_min) | st.integers(low + exclude_min, min(int(high), 2**40))


share, at_least_0, above_0 = floats(0, 1), floats(0, 1e300), floats(0, 1e300, exclude_min=True)


def scheduled(kind, number):
    return st.builds(kind, number, st.none() | number, share)


eps = st.floats(0, 1e6, exclude_min=True, exclude_max=True)
decay = st.floats(0, 1, exclude_max=True)
steps = st.floats(0, 1e6, exclude_min=True)
count = st.integers(1, 100_000)
hidden = st.lists(st.integers(1, 2**16), max_size=5).map(tuple)
common = {
    "hidden": hidden,
    "activation": st.sampled_from(sorted(ACTIVATIONS)),
    "layer_norm": st.booleans(),
    "noisy": st.none() | st.just(0.5) | above_0,
}
network = st.one_of(
    st.builds(kind, **common, **({} if kind in (MLP, Dueling) else {"dueling": st.booleans()}))
    for kind in NETWORKS.values()
)
recurrent = st.builds(
    Recurrent, network, st.sampled_from(Recurrent.CORES), st.integers(1, 2**16), st.integers(2, 2**12)
)
exploration = st.one_of(
    scheduled(EpsilonGreedy, share),
    scheduled(Boltzmann, above_0),
    scheduled(NoisyGreedy, at_least_0),
    st.builds(UCB, at_least_0),
    st.builds(EpsilonLadder, share, floats(0, 1e6)),
    st.just(Greedy()),
)


@st.composite
def given_policies(draw):
    states, actions = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    if draw(st.booleans()):
        return TabularPolicy(draw(st.lists(st.integers(0, 2**40), min_size=states, max_size=states)))
    weight = st.lists(st.floats(1e-9, 1), min_size=actions, max_size=actions)
    rows = [draw(weight) for _ in range(states)]
    return TabularPolicy([[number / sum(row) for number in row] for row in rows])


FORMS = {
    Network: network,
    Recurrent: recurrent,
    Network | Recurrent: network | recurrent,
    Exploration: exploration,
    Exploration | None: st.none() | exploration,
    Optimizer: st.builds(Adam, eps) | st.builds(RAdam, eps) | st.builds(RMSProp, decay, eps),
    Features: st.one_of(
        st.just(Raw()),
        *(st.builds(kind, count) for kind in (Polynomial, Fourier, Radial)),
        st.builds(Tiles, count, count),
    ),
    Sampling: st.just(Uniform()) | st.builds(Prioritised, share, share, share),
    TabularPolicy: st.just(TabularPolicy()) | given_policies(),
    float | StepSize: st.builds(StepSize, steps, st.none() | st.floats(0, 1e6), st.sampled_from([0, 1]) | share),
}


def test_every_part_that_has_a_text_form_is_checked_here():
    assert set(FORMS) == set(PARTS)


@pytest.mark.parametrize("part", FORMS, ids=str)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_part_is_read_back_from_its_text_as_it_was(part, data):
    value = data.draw(FORMS[part])
    assert PARTS[part].read(PARTS[part].write(value)) == value


def values_of(hint, default):
    """What a hyperparameter may be, as far as its type and its default tell."""
    if hint in FORMS:
        return FORMS[hint] | st.just(default)
    if type(default) is int and default > 0:
        return st.integers(default, 2 * default)
    if type(default) is float and default:
        return st.floats(*sorted((default / 2, default)))
    return st.just(default)


@pytest.mark.parametrize("name", ALGORITHMS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_an_algorithm_is_built_from_its_description_as_it_was(name, data):
    kind = ALGORITHMS[name]
    hints = typing.get_type_hints(kind)
    algorithm = kind(**{f.name: data.draw(values_of(hints[f.name], f.default)) for f in fields(kind)})
    assert build(name, json.loads(json.dumps(describe(algorithm)))) == algorithm
