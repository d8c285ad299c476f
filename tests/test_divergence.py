"""Numbers that go wrong: the run stops, and a sentence says where; and values that grow.

That no algorithm makes the update is in tests/test_every_algorithm.py.
"""

import gymnasium
import jax.numpy as jnp
import numpy as np
import pytest

import polyak
from polyak.agent import Spec
from polyak.divergence import LONG, LOOKS, SATURATED, Divergence, Growth, Learning, not_finite
from polyak.engines.compiled import CompiledEngine
from polyak.engines.host import HostEngine
from polyak.envs.base import AsGymnasium, CompiledEnv
from polyak.envs.from_gymnasium import GymnasiumVector
from polyak.errors import BadSetting, Diverged, restored
from polyak.parts.features import Raw

VECTOR, NUMBER = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32), gymnasium.spaces.Discrete(2)


# The engines


def pays(reward_at, kind: str = "vector", limit: int | None = None) -> CompiledEnv:
    """Episodes cut by the clock, or a single one without end; the reward of step t is reward_at(t)."""
    space = {"vector": VECTOR, "number": NUMBER}[kind]

    def see(t):
        return (t % 2)[None].astype(jnp.float32) if kind == "vector" else t % 2

    def step(t, action, noise):
        return t + 1, see(t + 1), jnp.float32(reward_at(t)), jnp.bool_(False), t + 1 == (limit or -1)

    def reset(noise):
        return jnp.int32(0), see(jnp.int32(0))

    return CompiledEnv(
        "pays", space, gymnasium.spaces.Discrete(2), limit, lambda key, shape: jnp.zeros(shape), reset, step
    )


def poisoned(t):
    return jnp.where(t == 41, 3e38, 1.0)


def engine_of(kind: str, algorithm, env: CompiledEnv, chunk: int, batched: bool = False):
    spec = Spec(env.observation_space, env.action_space, 1, None, 1000)
    agent = algorithm.agent(spec)
    if kind == "compiled":
        return CompiledEngine(algorithm, agent, env, spec, chunk, batched)
    return HostEngine(algorithm, agent, GymnasiumVector(lambda: AsGymnasium(env), 1), spec, chunk)


@pytest.mark.parametrize("kind", ["compiled", "host"])
def test_the_engine_tells_in_which_step_it_happened(kind):
    engine = engine_of(kind, polyak.QLearning(), pays(poisoned, "number"), 100)
    loop, metrics = engine.advance(engine.init(0), 100, True)
    engine.close()
    assert int(loop.iteration) == 42
    assert not_finite(metrics) == ["td_error"]
    assert np.isfinite(loop.agent.q).all()
    with pytest.raises(Diverged, match=r"seed 5 .* td_error .* between steps 41 and 42; .*no checkpoint was written"):
        Divergence([5], print, NUMBER).look(metrics, 0, 1, loop.iteration, lambda seed: None)
    if kind == "compiled":  # nothing was learnt after it
        clean, _ = engine.advance(engine.init(0), 41, True)
        np.testing.assert_array_equal(clean.agent.q, loop.agent.q)


def test_seeds_that_share_a_program_are_named_one_by_one():
    engine = engine_of("compiled", polyak.QLearning(), pays(poisoned, "number"), 100, batched=True)
    loop = engine.init(np.array([3, 4]))
    loop = loop._replace(env=loop.env.at[0].set(50))  # the first has it behind it
    loop, metrics = engine.advance(loop, 100, True)
    assert np.isfinite(loop.agent.q).all()
    with pytest.raises(Diverged, match=r"seed 4 .* between steps 0 and 100; the last good checkpoint is runs/x/4;"):
        Divergence([3, 4], print, NUMBER).look(metrics, 0, 1, loop.iteration, lambda seed: f"runs/x/{seed}")


# Whole runs


@pytest.mark.parametrize("processes", [0, 1])
def test_a_run_stops_and_saves_nothing_that_is_bad(processes, tmp_path):
    with pytest.raises(Diverged, match=r"seed 7 stopped because td_error became .* between steps 41 and 42"):
        polyak.train(
            polyak.QLearning(), pays(poisoned, "number"), steps=200, seed=7, out=tmp_path, processes=processes,
            progress=False,
        )  # fmt: skip
    assert not list(tmp_path.rglob("*.safetensors"))


def test_the_error_survives_the_way_from_another_process():
    error = Diverged(["loss", "gradient_norm"], 3, 1000, 1004, None)
    assert "loss and gradient_norm" in str(error) and "1,000 and 1,004" in str(error)
    again = restored("Diverged", str(error))
    assert type(again) is Diverged and str(again) == str(error)


def test_what_was_not_measured_is_no_fault_and_a_sum_that_overflowed_is():
    nothing = {"episodes": 0.0, "episode_return": np.nan, "episode_length": np.nan, "loss": 1.0}
    assert not_finite(nothing) == []
    assert not_finite(nothing | {"loss": np.nan}) == ["loss"]
    assert not_finite(nothing | {"episodes": 2.0, "episode_length": 3.0}) == ["episode_return"]


def test_a_parameter_that_is_not_finite_is_named():
    metrics = {"episodes": 0.0, "loss": 1.0, "largest_parameter": np.nan}
    with pytest.raises(Diverged, match=r"largest_parameter .* between steps 100 and 200"):
        Divergence([0], print, NUMBER).look(metrics, 100, 2, np.int32(100), lambda seed: None)


# Values that grow


def notices(history) -> list[str]:
    growth = Growth()
    return [text for metrics in history if (text := growth.look(metrics))]


def looks(values, earned: float = 10.0, episodes: float = 4.0):
    return [{"episodes": episodes, "episode_return": earned, "q_mean": value, "loss": 1.0} for value in values]


def test_values_that_leave_returns_behind_are_told_of_once():
    told = notices(looks(2.0 ** np.arange(30)))
    assert len(told) == 1 and "q_mean has grown to" in told[0] and "returns stayed near 20" in told[0]


def test_one_look_is_not_enough():
    assert LOOKS > 1 and notices(looks([1.0, 1e9, 1.0] * 10)) == []


@pytest.mark.parametrize("values", [[1e5] * 20, 1e6 * 0.9 ** np.arange(50)], ids=["optimistic", "falling"])
def test_values_that_do_not_grow_are_no_reason(values):
    assert notices(looks(values)) == []


def test_rare_rewards_are_no_reason():
    """One episode of a thousand pays, and its value becomes known."""
    assert notices(looks(np.linspace(0, 1, 30), earned=1e-3, episodes=1000.0)) == []


def test_the_largest_value_tells_where_the_mean_does_not():
    """One row of 256 runs away: at 3,000, beyond 100 times 20, the mean has moved by 12."""
    history = [row | {"q_max": 3.0**k, "q_mean": 5.0 + 3.0**k / 256} for k, row in enumerate(looks([0.0] * 10))]
    (text,) = notices(history)
    assert "q_max has grown to 1.97e+04 while returns stayed near 20" in text  # 3^7, 3^8 and 3^9 are beyond 2,000


def critics(values, earned: float = 10.0, **others):
    """Looks at an off-policy actor-critic; four episodes of 100 steps end before each."""
    shared = {"episode_length": 100.0, "actor_loss": -1.0, "critic_loss": 1.0, "q_max": 1.0, "td_error": 0.1}
    return [row | shared | others for row in looks(values, earned)]


def test_the_loss_of_a_critic_is_not_in_units_of_return_and_its_td_error_is():
    assert notices(critics([1.0] * 20, critic_loss=1e12)) == []
    history = [row | {"td_error": 4.0**k} for k, row in enumerate(critics([1.0] * 20))]
    assert "td_error has grown" in notices(history)[0]


@pytest.mark.parametrize("loss", ["loss", "critic_loss", "value_loss", None])
def test_the_entries_of_a_table_are_values_and_the_weights_of_a_network_are_not(loss):
    rows = [{"episodes": 4.0, "episode_return": 1e-4, "td_error": 0.0, "largest_parameter": 2.0**k} for k in range(20)]
    if loss:
        assert notices([row | {loss: 0.0} for row in rows]) == []
    else:
        assert "largest_parameter has grown" in notices(rows)[0]


def test_values_hold_what_is_paid_for_entropy():
    """Returns of 0.1, and 1 nat a step at a temperature of 1: the values may reach 100 times 2 (0.1 + 100)."""
    rising, doubling = np.linspace(0.0, 99.0, 30), 2.0 ** np.arange(30)
    for entropy in (1.0, -1.0):  # paid, or paid back
        assert notices(critics(rising, earned=0.1, temperature=1.0, entropy=entropy)) == []
        assert len(notices(critics(doubling, earned=0.1, temperature=1.0, entropy=entropy))) == 1
    assert "q_mean has grown" in notices(critics(rising, earned=0.1, entropy=1.0))[0]


def test_a_temperature_that_runs_away_does_not_excuse_the_values_that_it_takes_along():
    history = [
        row | {"temperature": 2.0**k, "entropy": -1.0} for k, row in enumerate(critics(100 * 2.0 ** np.arange(30)))
    ]
    (text,) = notices(history)
    assert "while returns stayed near 220" in text  # 2 (10 + 100), whatever the temperature


def test_without_returns_a_millionfold_growth_tells():
    history = [{"episodes": 0.0, "episode_return": np.nan, "td_error": 4.0**k} for k in range(20)]
    assert len(notices(history)) == 1
    assert notices(history[:8]) == []


def test_linear_q_learning_with_too_large_a_step_is_told_of(tmp_path, capfd):
    algorithm = polyak.LinearQLearning(features=Raw(), learning_rate=2.5, gamma=1.0, trace_lambda=0.0)
    with pytest.raises(Diverged, match="td_error"):
        polyak.train(algorithm, pays(lambda t: 1.0, limit=20), steps=3_000, out=tmp_path, processes=0, progress=True)
    assert capfd.readouterr().err.count("so the values may be diverging") == 1


def told(*history, densities: bool = False) -> list[str]:
    """What `Learning` tells of chunks, each given as (return, entropy, kl, explained variance)."""
    learning = Learning(densities)
    names = ("episode_return", "entropy", "kl", "explained_variance")
    looks = ({"episodes": 4.0, **dict(zip(names, values, strict=True))} for values in history)
    return [text for metrics in looks if (text := learning.look(metrics))]


GOOD = (20.0, 0.69, 0.01, 0.1)


def test_a_policy_that_grows_certain_without_growing_good_is_told_of_once():
    collapsed = (20.5, 0.01, 0.01, 0.1)
    assert told(GOOD, *[collapsed] * (LOOKS - 1), GOOD, *[collapsed] * (LOOKS - 1)) == []
    (text,) = told(GOOD, *[collapsed] * 50, GOOD, *[collapsed] * 50)
    assert text.startswith("entropy has fallen from 0.69 to 0.01 while returns stayed near 20.5")


def test_a_policy_that_is_good_may_be_certain_and_its_value_have_nothing_to_explain():
    assert told(GOOD, *[(500.0, 0.001, 0.01, -0.5)] * 50) == []
    assert told((-200.0, 1.1, 0.01, 0.1), *[(-110.0, 0.01, 0.01, 0.9)] * 50) == []


def test_the_entropy_of_densities_may_be_negative_and_may_stay_at_zero():
    for entropy in (-3.0, 0.0, 0.02):
        history = (-1500.0, 1.4, 0.01, 0.1), *[(-1500.0, entropy, 0.01, 0.1)] * 50
        assert told(*history, densities=True) == []
    assert len(told(*history)) == 1  # of choices 0.02 nats are none


@pytest.mark.parametrize(
    ("space", "count"),
    [(NUMBER, 1), (VECTOR, 0), (gymnasium.spaces.Dict(one=NUMBER, other=VECTOR), 0)],
    ids=["choices", "numbers", "both"],
)
def test_whether_there_are_densities_is_told_by_the_action_space(space, count):
    events = []
    divergence = Divergence([3], events.append, space)
    for entropy in (1.4, *[0.001] * 50):
        metrics = {"episodes": 4.0, "episode_return": -1500.0, "episode_length": 200.0, "entropy": entropy}
        divergence.look(metrics, 0, 1, 1, lambda seed: None)
    assert [event.seed for event in events] == [3] * count


def saturated(*history) -> list[str]:
    """What `Learning` tells of chunks, each given as (return, saturation)."""
    learning = Learning(densities=True)
    names = ("episode_return", "action_saturation")
    chunks = ({"episodes": 4.0, **dict(zip(names, values, strict=True))} for values in history)
    return [text for metrics in chunks if (text := learning.look(metrics))]


def test_actions_that_sit_on_their_bounds_without_growing_good_are_told_of_once():
    begun, stuck = (-1500.0, 0.02), (-1480.0, 0.99)  # better by 1 %
    assert saturated(begun, *[stuck] * (LONG - 1), begun, *[stuck] * (LONG - 1)) == []
    (text,) = saturated(begun, *[stuck] * 50, begun, *[stuck] * 50)
    assert text.startswith("action_saturation has stayed above 0.95 (0.99) while returns stayed near -1.48e+03")
    assert saturated(begun, *[(-1480.0, SATURATED)] * 50) == []


def test_the_best_actions_may_be_those_on_the_bounds():
    """MountainCarContinuous: full throttle to and fro is best, and returns go from -33 to 93."""
    assert saturated((-33.0, 0.02), *[(93.0, 1.0)] * 50) == []
    assert saturated((-33.0, 1.0), *[(-33.0, 1.0)] * (LONG - 2), *[(93.0, 1.0)] * 50) == []


def test_returns_that_scatter_are_better_only_beyond_their_scatter():
    """Of one episode a look: those of a policy that sits on its bounds reach -1,300 by chance, and change by 300."""
    begun, chance = (-1560.0, 0.02), [(-1600.0, 1.0), (-1300.0, 1.0)] * 25
    (text,) = saturated(begun, *chance)
    assert "while returns stayed near -1.3e+03" in text
    rising = [(-1560.0 + 100 * min(k, 14), 1.0) for k in range(50)]  # by 100 a look, which is no scatter
    assert saturated(begun, *rising) == []
    assert saturated(begun, *[(-600.0, 1.0), (-300.0, 1.0)] * 25) == []


def test_before_an_episode_has_ended_nothing_is_said_of_the_bounds():
    learning = Learning()
    unknown = {"episodes": 0.0, "episode_return": np.nan, "action_saturation": 1.0}
    assert not any(learning.look(unknown) for _ in range(50))


def test_a_policy_that_moves_far_and_a_value_that_explains_nothing_are_told_of():
    (text,) = told(*[(20.0, 0.69, 1.5, 0.1)] * 50)
    assert text.startswith("kl is 1.5 nats")
    unexplained = (20.0, 0.69, 0.01, -0.2)
    assert told(*[unexplained] * (LONG - 1), GOOD) == []
    (text,) = told(*[unexplained] * 50)
    assert text.startswith("explained_variance has stayed below zero (-0.2)")


def test_learners_without_these_metrics_are_not_judged_by_them():
    learning = Learning()
    assert not any(learning.look({"episodes": 1.0, "episode_return": 1.0, "loss": 0.1}) for _ in range(50))


def test_a_replay_that_was_given_no_stacks_says_so_instead_of_diverged():
    divergence = Divergence([7], lambda event: None, NUMBER)
    with pytest.raises(BadSetting, match=r"observations of seed 7 are not stacks .* set frame_stack to 1"):
        divergence.look({"loss": np.nan, "replay_size": np.nan}, 0, 4, 1, lambda seed: None)
