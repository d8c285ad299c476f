"""Tables of values and traces: numbers worked by hand, and what states are called in files."""

import dataclasses

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polyak.agent import Spec, Step
from polyak.algorithms import ALGORITHMS
from polyak.algorithms.tabular.q_learning import QLearning
from polyak.algorithms.tabular.td import TD
from polyak.parts import tables, traces
from polyak.parts.schedules import StepSize
from polyak.parts.tables import action_values, added, state_values
from polyak.spaces import row_shape

FIVE, THREE = gymnasium.spaces.Discrete(5, start=2), gymnasium.spaces.Discrete(3, start=1)
SPEC = Spec(FIVE, THREE, 1, None, 100)


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize("small", [True, False])
def test_one_entry_is_added_to_in_tables_of_any_size(shape, small, monkeypatch):
    monkeypatch.setattr(tables, "SMALL", 1_000 if small else 0)
    table, place = jax.random.normal(jax.random.key(0), shape), tuple(n - 1 for n in shape)
    wanted = np.array(table)
    wanted[place] += np.float32(0.5)
    np.testing.assert_array_equal(added(table, tuple(map(jnp.int32, place)), 0.5), wanted)
    np.testing.assert_array_equal(added(table, tuple(map(jnp.int32, place)), jnp.nan), table)
    assert added((), tuple(map(jnp.int32, place)), 0.5) == ()


def step_in(obs: int, terminated: bool = False, truncated: bool = False) -> Step:
    """A step of action 3 that earns 3/2 and leads to the last state."""
    return Step(*map(jnp.asarray, (obs, 3, 1.5, terminated, truncated, 6)), ())


def test_a_step_is_read_in_the_numbers_of_the_table():
    table = action_values(QLearning(gamma=0.5), SPEC, "Q-learning")
    assert list(map(float, table.transition(step_in(2)))) == [0, 2, 1.5, 0.5, 4]
    assert list(map(float, table.transition(step_in(2, terminated=True)))) == [0, 2, 1.5, 0.0, 4]
    assert list(map(int, table.place(step_in(2)))) == [0, 2]
    assert list(map(int, state_values(TD(), SPEC, "TD(0)").place(step_in(2)))) == [0]


def test_a_correction_is_a_step_size_of_the_error():
    table = action_values(QLearning(learning_rate=StepSize(1.0, power=1.0), initial_value=1.0), SPEC, "Q-learning")
    state, place = table.init(jax.random.key(0)), (jnp.int32(1), jnp.int32(2))
    for error in (2.0, 4.0):  # with alpha 1 and 1/2
        state, used = table.corrected(state, place, jnp.float32(error))
        assert used == error
    assert state.q[1, 2] == 1.0 + 2.0 + 4.0 / 2
    assert (state.q.sum(), state.visits.sum(), state.visits[1, 2]) == (15 + 4, 2, 2)


@pytest.mark.parametrize("traced", [True, False])
def test_an_error_too_large_to_be_used_corrects_nothing(traced):
    table = state_values(TD(), SPEC, "TD(0)")
    state = table.init(jax.random.key(0))._replace(trace=jnp.zeros(table.shape))
    step, error = step_in(jnp.int32(3)), jnp.float32(3e38)
    after, used = (
        traces.corrected(table, state, step, error, False, 0.5)
        if traced
        else table.corrected(state, table.place(step), error)
    )
    assert jnp.isnan(used)
    np.testing.assert_array_equal(after.v, state.v)
    np.testing.assert_array_equal(after.trace, state.trace)


@pytest.mark.parametrize("replacing", [False, True])
def test_an_error_corrects_what_was_visited_before(replacing):
    table = state_values(TD(learning_rate=0.5), SPEC, "TD(lambda)")
    state = table.init(jax.random.key(0))._replace(trace=jnp.zeros(table.shape))
    for obs in (2, 2, 3):
        state, _ = traces.corrected(table, state, step_in(obs), jnp.float32(2.0), replacing, 0.5)
    visited_twice = [1.0, 1.0, 0.5] if replacing else [1.0, 1.5, 0.75]
    assert state.v[:3].tolist() == [sum(visited_twice), 1.0, 0.0]
    assert state.trace[:3].tolist() == [visited_twice[-1] / 2, 0.5, 0.0]
    state, _ = traces.corrected(table, state, step_in(4, truncated=True), jnp.float32(2.0), replacing, 0.5)
    assert state.v[:3].tolist() == [sum(visited_twice) + visited_twice[-1] / 2, 1.5, 1.0]
    assert not state.trace.any()


CONTROL, AHEAD, PREDICTION = "q visits step", "q visits step next_action fresh", "v visits step"
FIELDS = {
    "q-learning": CONTROL,
    "expected-sarsa": CONTROL,
    "double-q-learning": CONTROL,
    "dyna-q": f"{CONTROL} model.onward model.reward model.seen model.num_seen",
    "monte-carlo": CONTROL,
    "off-policy-monte-carlo": "q weight step",
    "sarsa": AHEAD,
    "n-step-sarsa": f"{AHEAD} recent.state recent.action recent.reward recent.filled",
    "sarsa-lambda": f"{AHEAD} trace",
    "q-lambda": f"{AHEAD} trace",
    "td": PREDICTION,
    "monte-carlo-prediction": PREDICTION,
    "lambda-return": PREDICTION,
    "n-step-td": f"{PREDICTION} waiting.state waiting.rewards waiting.number",
    "td-lambda": f"{PREDICTION} trace",
    "tabular-cem": "pi",
    "linear-sarsa": "w step next_action fresh z",
    "linear-q-learning": "w step next_action fresh z",
    "afterstate-td": PREDICTION,
}


@pytest.mark.parametrize("name", FIELDS)
def test_states_have_the_names_that_files_hold(name):
    """What is called otherwise cannot be read from the policies and checkpoints of before."""
    places = gymnasium.spaces.Box(np.int32(-1), np.int32(8), (2,), np.int32)
    spaces: dict[str, gymnasium.Space] = {"afterstate-td": gymnasium.spaces.Dict({"afterstates": places})}
    spaces |= dict.fromkeys(("linear-sarsa", "linear-q-learning"), gymnasium.spaces.Box(0.0, 1.0, (2,), np.float32))
    spec = Spec(spaces.get(name, FIVE), gymnasium.spaces.Discrete(2), 3, None, 100)
    algorithm = ALGORITHMS[name]()
    if hasattr(algorithm, "learning_rate") and "visits" in FIELDS[name]:
        algorithm = dataclasses.replace(algorithm, learning_rate=StepSize(1.0, power=1.0))
    agent = algorithm.agent(spec)
    state = jax.eval_shape(agent.init, jax.random.key(0))
    assert [jax.tree_util.keystr(place)[1:] for place, _ in jax.tree.leaves_with_path(state)] == FIELDS[name].split()
    policy, obs = jax.eval_shape(agent.policy, state), jnp.zeros((3, *row_shape(spec.observation_space)), jnp.int32)
    kept = {jax.tree_util.keystr(place)[1:] for place, _ in jax.tree.leaves_with_path(policy)}
    assert kept <= {"q", "v", "w", "pi", "step"}
    noise = agent.noise(jax.random.key(0), (3,))
    action, _, _ = jax.eval_shape(lambda policy: agent.act(policy, agent.start(3), obs, noise, False), policy)
    assert action.shape == (3,), "what is kept is enough to act by"
