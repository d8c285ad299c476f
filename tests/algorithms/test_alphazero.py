"""AlphaZero: its targets, its loss, its symmetries, and what it refuses."""

import dataclasses

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import polyak
from polyak.agent import Position, Spec, Step
from polyak.algorithms.tree_search.alphazero import Example, Extras
from polyak.course.exercises.search import targets
from polyak.envs import CompiledEnv, make, tictactoe
from polyak.errors import BadSetting
from tests.speeds import slow

SMALL = {"network": polyak.MLP(hidden=(16,)), "n_steps": 4, "buffer_size": 64, "batch_size": 8, "gradient_steps": 1}


def made(env, num_envs=2, **settings):
    """An agent of AlphaZero's, and its state before the first step."""
    algorithm = polyak.AlphaZero(**SMALL | settings)
    spec = Spec(env.observation_space, env.action_space, num_envs, env.max_episode_steps, 1_000, None, env)
    agent = algorithm.agent(spec)
    return algorithm, agent, agent.init(jax.random.key(0))


def block(env, reward, terminated, value, random, truncated=None, num_envs=2):
    """Steps whose observations do not matter; the other fields are given as [T, B]."""
    reward, value = np.asarray(reward, np.float32), np.asarray(value, np.float32)
    obs = jnp.zeros((*reward.shape, *env.reset(env.noise(jax.random.key(0), ()))[1].shape))
    weights = jnp.full((*reward.shape, int(env.action_space.n)), 1 / int(env.action_space.n))
    never = np.zeros(reward.shape, bool)
    truncated = never if truncated is None else np.asarray(truncated, bool)
    extras = Extras(weights, jnp.asarray(value), jnp.asarray(random, bool))
    return Step(obs, never, jnp.asarray(reward), jnp.asarray(terminated, bool), jnp.asarray(truncated), obs, extras)


def results(agent, state, steps):
    """G [T, B] of a block: what the memory has got."""
    return np.asarray(agent.observe(state, steps).replay.storage.result[: steps.reward.size]).reshape(
        steps.reward.shape
    )


def expected(agent, state, obs):
    """What the network expects of a position: of G at the end of a block this is what stands for the rest."""
    found = state.player.network(obs)
    return float(jnp.tanh(found[..., -1]).ravel()[0])


def test_results_change_sign_with_every_move_and_are_summed_to_the_end_of_the_game_or_the_block():
    env = make("tic-tac-toe")
    _, agent, state = made(env)
    # the first game is won by the mover of step 1, the next goes on beyond the block; the other goes on throughout
    steps = block(
        env, [[0, 0], [1, 0], [0, 0], [0, 0]], [[0, 0], [1, 0], [0, 0], [0, 0]], np.full((4, 2), 0.3), np.zeros((4, 2))
    )
    v = 0.0  # of observations that are all zero, through biases that are
    np.testing.assert_allclose(results(agent, state, steps), [[-1, v], [1, -v], [v, v], [-v, -v]], atol=1e-6)


def test_a_random_move_tells_nothing_of_what_was_before_it():
    env = make("tic-tac-toe")
    _, agent, state = made(env, num_envs=1)
    value, random = [[0.1], [0.2], [0.3], [0.4]], [[0], [0], [1], [0]]
    steps = block(env, [[0], [0], [0], [1]], [[0], [0], [0], [1]], value, random)
    # step 3 wins; step 2 was drawn, so it is worth what its search found, and so are those before it, in turns
    np.testing.assert_allclose(results(agent, state, steps)[:, 0], [0.3, -0.3, 0.3, 1.0], atol=1e-6)


def test_the_targets_are_those_of_the_course():
    env, rng = make("tic-tac-toe"), np.random.default_rng(0)
    _, agent, state = made(env, num_envs=8)
    value, random = rng.uniform(-1, 1, (4, 8)), rng.uniform(size=(4, 8)) < 0.4
    reward, terminated = np.zeros((4, 8)), np.zeros((4, 8), bool)
    reward[-1], terminated[-1] = rng.integers(0, 2, 8), True
    found = results(agent, state, block(env, reward, terminated, value, random))
    taught = [targets(reward[-1, game], value[:, game], random[:, game]) for game in range(8)]
    np.testing.assert_allclose(found, np.transpose(taught), atol=1e-6)


def test_lambda_mixes_what_the_next_search_found():
    env = make("tic-tac-toe")
    _, agent, state = made(env, num_envs=1, trace_lambda=0.5, gamma=0.9)
    steps = block(env, [[0], [0], [0], [1]], [[0], [0], [0], [1]], [[0.1], [0.2], [0.3], [0.4]], np.zeros((4, 1)))
    g3 = 1.0
    g2 = -0.9 * (0.5 * 0.4 + 0.5 * g3)
    g1 = -0.9 * (0.5 * 0.3 + 0.5 * g2)
    g0 = -0.9 * (0.5 * 0.2 + 0.5 * g1)
    np.testing.assert_allclose(results(agent, state, steps)[:, 0], [g0, g1, g2, g3], rtol=1e-5)


def line(end: int = 5) -> CompiledEnv:
    """One player who walks to the right, and is paid once, at the end, as many as steps right were made."""

    def reset(noise):
        return (jnp.int32(0), jnp.float32(0)), jnp.zeros(2)

    def step(state, action, noise):
        time, total = state[0] + 1, state[1] + action
        over = time >= end
        return (time, total), jnp.stack([time / end, total / end]), jnp.where(over, total, 0.0), over, jnp.bool_(False)

    space = gymnasium.spaces.Box(-1.0, 9.0, (2,))
    return CompiledEnv(
        "line", space, gymnasium.spaces.Discrete(2), None, lambda key, shape: jnp.zeros(shape), reset, step
    )


def test_ranked_rewards_are_won_among_the_best_of_the_last_episodes():
    env = line()
    _, agent, state = made(env, num_envs=5, ranked_rewards=0.75)
    ended = np.zeros((4, 5), bool)
    ended[3] = True
    reward = np.zeros((4, 5))
    reward[3] = [1, 2, 3, 4, 5]
    steps = block(env, reward, ended, np.zeros((4, 5)), np.zeros((4, 5)))
    state = agent.observe(state, steps)  # nothing was there to be ranked among: all are won
    assert float(state.player.threshold) == 4.0  # the quantile at 0.75 of 1 to 5
    after = agent.observe(state, steps).replay.storage.result[20:40].reshape(4, 5)
    np.testing.assert_allclose(after, np.tile([-1, -1, -1, 1, 1], (4, 1)))


@pytest.mark.slow
def test_alone_it_learns_what_is_paid_at_the_end(tmp_path):
    algorithm = polyak.AlphaZero(
        num_simulations=8, ranked_rewards=0.75, n_steps=16, network=polyak.MLP(hidden=(32,)), learning_rate=1e-2,
        buffer_size=4_096, batch_size=128, average=0.9,
    )  # fmt: skip
    run = polyak.train(algorithm, line(), steps=8_192, num_envs=32, out=tmp_path, progress=False, processes=0)
    assert run.scores.mean == 5.0


def test_the_loss_is_the_squared_error_and_the_cross_entropy_of_legal_moves():
    env = make("tic-tac-toe")
    _, agent, state = made(env, num_envs=1, vf_coef=0.5, symmetries=False, batch_size=1, anneal_learning_rate=False)
    _, obs = env.reset(env.noise(jax.random.key(0), ()))
    steps = block(env, [[0], [0], [0], [1]], [[0], [0], [0], [1]], np.zeros((4, 1)), np.ones((4, 1)))
    steps = steps._replace(obs=jnp.broadcast_to(obs, steps.obs.shape))
    state = agent.observe(state, steps)  # all results are what the search found: 0
    _, metrics = jax.jit(agent.learn)(state, steps, jax.random.key(1))
    answers = np.asarray(state.parameters(jnp.asarray(obs)[_planes(env)]))
    logits, value = answers[:9], np.tanh(answers[9])
    cross_entropy = -np.mean(logits - np.log(np.exp(logits).sum()))
    assert metrics["policy_loss"] == pytest.approx(cross_entropy, rel=1e-4)
    assert metrics["loss"] == pytest.approx(cross_entropy + 0.5 * value**2, rel=1e-4)


def _planes(env):
    from polyak.spaces import for_networks

    (part,) = for_networks(env.observation_space)
    return slice(part.begin, part.end)


@pytest.mark.parametrize("id", ["tic-tac-toe", "connect-four", slow("othello"), slow("go-9x9")])
def test_a_turned_game_is_the_game_of_turned_moves(id):
    """Each symmetry: what is seen after some moves, turned, is what is seen after the turned moves."""
    env, rng = make(id), np.random.default_rng(0)
    step, nothing = jax.jit(env.step), env.noise(jax.random.key(0), ())
    for of_obs, of_actions in zip(env.symmetries.obs, env.symmetries.actions, strict=True):
        turned_move = np.argsort(of_actions)  # where an action of the game goes
        state, obs = env.reset(nothing)
        other, other_obs = env.reset(nothing)
        for _ in range(6):
            legal = np.flatnonzero(obs[polyak.spaces.mask_of(env.observation_space)])
            action = rng.choice(legal)
            state, obs, *_ = step(state, action, nothing)
            other, other_obs, *_ = step(other, turned_move[action], nothing)
            seen = [part for part in polyak.spaces.parts(env.observation_space) if part.path != ("afterstates",)]
            for part in seen:
                np.testing.assert_array_equal(part.of(np.asarray(obs)[of_obs]), part.of(np.asarray(other_obs)))


@pytest.mark.slow
def test_it_looks_at_what_wins_and_at_what_loses():
    """A network that knows nothing, and a search that does: of two moves in a row it finds the one that wins."""
    env = make("tic-tac-toe")
    _, agent, state = made(env, num_simulations=64)
    # x x _ / o o _ / _ _ _: who moves wins in cell 2, and would lose without it
    board = jnp.array([1 * 1 + 1 * 3 + 2 * 27 + 2 * 81] * 8, jnp.int32)
    obs = jax.vmap(env.observe)(board)
    noise = agent.noise(jax.random.key(0), (8,))
    action, _, _ = agent.act(state, (), Position(obs, board), noise, False)
    assert action.tolist() == [2] * 8


def test_the_network_alone_answers_where_no_simulations_are_asked_for():
    env = make("connect-four")
    algorithm, _agent, state = made(env)
    alone = dataclasses.replace(algorithm, num_simulations=0)
    spec = Spec(env.observation_space, env.action_space, 2, None, 1_000, None, env)
    game, obs = jax.vmap(env.reset)(env.noise(jax.random.key(0), (3,)))
    action, _, extras = alone.agent(spec).act(state, (), Position(obs, game), (), False)
    logits = state.player.network(obs[:, _planes(env)])[:, :-1]
    np.testing.assert_array_equal(action, jnp.argmax(logits, -1))
    assert extras == ()


@pytest.mark.parametrize(
    ("env", "settings", "said"),
    [
        ("gymnasium:CartPole-v1", {}, "stepped from Python"),
        ("Pendulum-v1", {}, "actions that can be counted"),
        ("connect-four", {"ranked_rewards": 0.75}, "one player alone"),
        ("kuhn-poker", {}, "do not see"),
        ("backgammon", {}, "chance"),
    ],
)
def test_what_it_cannot_plan_in_is_refused_in_one_sentence(env, settings, said, tmp_path):
    with pytest.raises(BadSetting, match=said):
        polyak.train(polyak.AlphaZero(**settings), env, steps=100, out=tmp_path, progress=False, processes=0)


@pytest.mark.slow
def test_a_policy_plans_on_positions_and_its_file_rebuilds_the_game(tmp_path):
    run = polyak.train(
        polyak.AlphaZero(**SMALL, num_simulations=4), "connect-four", steps=64, num_envs=4, final_episodes=2,
        out=tmp_path, progress=False, processes=0,
    )  # fmt: skip
    policy = run.policy()
    policy.save(tmp_path / "p")
    loaded = polyak.load(tmp_path / "p")
    env = make("connect-four")
    state, obs = env.reset(env.noise(jax.random.key(0), ()))
    member = polyak.spaces.from_rows(env.observation_space, np.asarray(obs))
    assert loaded(Position(member, state)) == policy(Position(member, state))
    assert loaded.with_settings(num_simulations=0)(Position(member, state)) in range(7)
    with pytest.raises(BadSetting, match=r"polyak\.Position"):
        loaded(member)
    found = polyak.mcts("connect-four", state, 16, policy=loaded)
    assert found.visits.sum() == 16 and found.line[0] == found.action


def test_the_examples_of_a_memory_are_distributions_over_legal_moves():
    env = make("tic-tac-toe")
    _, agent, state = made(env, num_envs=2, num_simulations=4)
    world, obs = jax.vmap(env.reset)(env.noise(jax.random.key(0), (2,)))
    taken = jnp.array([0, 4])
    world, obs, *_ = jax.vmap(env.step)(world, taken, env.noise(jax.random.key(0), (2,)))
    noise = agent.noise(jax.random.key(1), (2,))
    _, _, extras = agent.act(state, (), Position(obs, world), noise, True)
    np.testing.assert_allclose(extras.weights.sum(-1), 1.0, rtol=1e-5)
    assert extras.weights[0, 0] == extras.weights[1, 4] == 0.0
    assert (np.abs(extras.value) <= 1).all()
    assert isinstance(state.replay.storage, Example) and tictactoe.EMPTY == 0
