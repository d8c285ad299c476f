"""Hyperparameters: each has a type, a range and a sentence, and a value that cannot work is told in one."""

import dataclasses
import inspect
import re
import typing

import jax
import jax.numpy as jnp
import pytest

from polyak import settings
from polyak.algorithms import ALGORITHMS
from polyak.algorithms.policy.a2c import A2C
from polyak.algorithms.policy.ppo import PPO
from polyak.algorithms.policy.trpo import TRPO
from polyak.algorithms.tabular.q_learning import QLearning
from polyak.algorithms.tabular.tabular_cem import TabularCEM
from polyak.algorithms.value.dqn import DQN
from polyak.errors import Error
from polyak.parts import exploration, features
from polyak.parts.exploration import EpsilonGreedy
from polyak.parts.networks import MLP, NETWORKS
from polyak.parts.optimise import OPTIMIZERS, Adam
from polyak.parts.ranges import Range
from polyak.parts.sampling import SAMPLINGS
from polyak.parts.schedules import StepSize

EVERY = pytest.mark.parametrize("kind", ALGORITHMS.values(), ids=ALGORITHMS)


def metadata(hint) -> tuple:
    """All that annotations say, in a hint and in the types that it is made of."""
    own = getattr(hint, "__metadata__", ())
    return own + tuple(one for inner in typing.get_args(hint) for one in metadata(inner))


PARTS = (*exploration.KINDS, *NETWORKS.values(), *OPTIMIZERS.values(), *features.KINDS.values(), *SAMPLINGS.values())


@pytest.mark.parametrize("kind", [*ALGORITHMS.values(), *PARTS, StepSize], ids=lambda kind: kind.__name__)
def test_every_number_has_a_range_that_holds_its_default(kind):
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        bare = typing.get_type_hints(kind)[name]
        if {int, float} & {bare, *typing.get_args(bare)} and typing.get_origin(bare) is not typing.ClassVar:
            ranges = [one for one in metadata(hint) if isinstance(one, Range)]
            assert len(ranges) == 1, name
            default = getattr(kind, name)
            assert not isinstance(default, int | float) or default in ranges[0], name


@EVERY
def test_every_hyperparameter_has_one_sentence(kind):
    hints, source = typing.get_type_hints(kind, include_extras=True), inspect.getsource(kind)
    for field in dataclasses.fields(kind):
        shared = [one.documentation for one in metadata(hints[field.name]) if hasattr(one, "documentation")]
        own = re.findall(rf'^    {field.name}: .+\n    """(.+)"""$', source, re.MULTILINE)
        assert len(shared + own) == 1, field.name


@EVERY
def test_the_defaults_can_work_and_come_back_from_plain_data(kind):
    algorithm = kind()
    settings.check(algorithm)
    assert settings.build(algorithm.name, settings.describe(algorithm)) == algorithm


@pytest.mark.parametrize(
    ("algorithm", "says"),
    [
        (DQN(learning_starts=1e3), "dqn's learning_starts is 1000.0; it must be of type int"),
        (DQN(batch_size=64.0), "dqn's batch_size is 64.0; it must be of type int"),
        (DQN(double=1), "dqn's double is 1; it must be of type bool"),
        (DQN(network="mlp"), "dqn's network is 'mlp'; it must be of type Network"),
        (DQN(network=MLP(hidden=[64])), r"dqn's network's hidden is \[64\]; it must be of type tuple"),
        (DQN(network=MLP((64, 0))), r"dqn's network's hidden is \(64, 0\); it must be at least 1"),
        (DQN(network=MLP(noisy=-0.5)), "dqn's network's noisy is -0.5; it must be more than 0"),
        (DQN(network=MLP(activation="tanhh")), "There is no activation named 'tanhh'; did you mean tanh"),
        (DQN(optimizer=Adam(eps=-1.0)), "dqn's optimizer's eps is -1.0; it must be more than 0"),
        (QLearning(exploration=EpsilonGreedy(1.5)), "q-learning's exploration's initial is 1.5; it must be between"),
        (DQN(gradient_steps=0), "dqn's gradient_steps is 0; it must be -1, or at least 1"),
        (DQN(buffer_size=2**31), "dqn's buffer_size is 2147483648; it must be at least 1 and at most 2,147,483,647"),
        (DQN(learning_rate=10**400), "it must be more than 0 and at most 1e"),
        (QLearning(learning_rate="0.1"), "q-learning's learning_rate is '0.1'; it must be of type float or StepSize"),
        (TabularCEM(learning_rate=1.9), "tabular-cem's learning_rate is 1.9; it must be more than 0 and at most 1"),
        (TRPO(line_search_shrink=1.5), "trpo's line_search_shrink is 1.5; it must be more than 0 and below 1"),
        (TRPO(cg_damping=-1.0), "trpo's cg_damping is -1.0; it must be 0 or more"),
        (PPO(log_std_init=float("nan")), "ppo's log_std_init is nan; it must be at least -20 and at most 20"),
        (PPO(gamma=1.01), "ppo's gamma is 1.01; it must be between 0 and 1"),
        (PPO(target_kl="small"), "ppo's target_kl is 'small'; it must be of type float or None"),
        (A2C(weight="qq"), "There is no weight named 'qq'; did you mean q"),
    ],
)
def test_a_value_that_cannot_work_is_told_in_a_sentence(algorithm, says):
    with pytest.raises(Error, match=says):
        settings.check(algorithm)


def test_whole_numbers_serve_as_floats():
    settings.check(DQN(learning_rate=1, tau=0))
    assert settings.build("dqn", {"learning_rate": 1}) == DQN(learning_rate=1.0)


def test_a_number_that_is_traced_is_taken_as_it_is():
    def built(gamma):
        settings.check(DQN(gamma=gamma))
        return jnp.float32(gamma)

    assert jax.jit(built)(0.5) == 0.5


@pytest.mark.parametrize(
    ("limits", "inside", "outside"),
    [
        (Range(0, 1), (0, 0.5, 1), (-1e-9, 1 + 1e-9, float("nan"))),
        (Range(0, 1, above=True, below=True), (0.5,), (0, 1)),
        (Range(1, 5, also=(-1,)), (-1, 1, 5), (0, -2, 6)),
        (Range(0), (0, 1e30), (1e31, float("inf"), -1)),
    ],
)
def test_a_range_holds_what_lies_between_its_ends(limits, inside, outside):
    assert all(value in limits for value in inside)
    assert not any(value in limits for value in outside)


def test_an_algorithm_says_nothing_of_the_settings_of_others():
    with pytest.raises(Error, match="There is no ppo setting named 'tau'"):
        settings.build("ppo", {"tau": 1.0})
