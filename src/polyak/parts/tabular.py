"""Learners with tables: the agents around an equation.

An algorithm gives its update, of one step or of an episode; how actions are chosen, how steps come to the update and
what is kept of the present episodes is here.

- `control` acts by action values and explores; `control_ahead` chooses its next action before it learns, as SARSA must.
- `prediction` and `prediction_from_returns` follow a policy that is given.
- `after_each_step` and `from_returns` make `Agent.learn` of an update.
"""

from collections.abc import Callable, Iterable, Mapping

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec, Step, forget, no_memory, one_by_one
from polyak.parts.exploration import Exploration, NoiseAhead, noise_ahead
from polyak.parts.policies import TabularPolicy
from polyak.parts.tables import Place, Table
from polyak.parts.traces import Linear

State = PyTree  # `tables.ControlState`, `tables.PredictionState`, `traces.LinearState`, or an algorithm's own
Metrics = dict[str, Array]
Learn = Callable[[State, Step, Key], tuple[State, Metrics]]
Update = Callable[..., tuple[State, Array]]  # (state, step) -> state, TD error []
Look = Callable[[State, Array], tuple[Array, PyTree]]  # (state, obs [...]) -> action values, visits [..., A]

KEPT = ("q", "v", "w", "step")  # fields of a state that `act` reads, where it does not explore
READ = (*KEPT, "visits", "next_action", "fresh")  # and where it does


def control(spec: Spec, exploration: Exploration, init: Callable[[Key], State], look: Look, learn: Learn) -> Agent:
    """The agent that acts by action values: greedy, or with an exploration among them."""
    num_actions, first_action = int(spec.action_space.n), int(spec.action_space.start)  # type: ignore[attr-defined]

    def noise(key: Key, shape: tuple[int, ...]) -> PyTree:
        return exploration.noise(key, shape, num_actions)

    def act(state: State, carry: tuple[()], obs: Array, noise: PyTree, explore: bool):
        q, visits = look(state, obs)
        if explore:
            action = jax.vmap(exploration.choose, (0, 0, None, 0))(q, visits, state.step / spec.total_steps, noise)
        else:
            action = jnp.argmax(q, -1).astype(jnp.int32)
        return action + first_action, carry, ()

    return Agent(init, no_memory, noise, act, _observe, learn, _policy, publish=_publish)


def control_ahead(exploration: Exploration, values: Table | Linear, update: Update, **memory: PyTree) -> Agent:
    """The agent that chooses A' when S' is reached, learns from it, and takes it in the next step.

    Args:
        exploration: how it chooses.
        values: by which it chooses.
        update: (state, step, A' []) -> state, TD error [].
        memory: by field of the state, what it keeps of one environment's present episode, at the beginning: zeros.
            The update empties it where an episode ends.
    """
    spec = values.spec
    first_action = int(spec.action_space.start)  # type: ignore[attr-defined]

    def init(key: Key) -> State:
        none, all_fresh = jnp.zeros(spec.num_envs, jnp.int32), jnp.ones(spec.num_envs, bool)
        return agent.init(key)._replace(next_action=none, fresh=all_fresh)

    def noise(key: Key, shape: tuple[int, ...]) -> NoiseAhead:
        return noise_ahead(exploration, key, shape, int(spec.action_space.n))  # type: ignore[attr-defined]

    def act(state: State, carry: tuple[()], obs: Array, noise: NoiseAhead, explore: bool):
        if not explore:
            return agent.act(state, carry, obs, (), False)
        first, _, _ = agent.act(state, carry, obs, noise.first, True)
        return jnp.where(state.fresh, first, state.next_action + first_action), carry, noise.next

    def update_ahead(state: State, step: Step) -> tuple[State, tuple[Array, Array]]:
        q, visits = values.look(state, step.next_obs)
        a_next = exploration.choose(q, visits, state.step / spec.total_steps, step.extras)
        state, error = update(state, step, a_next)
        return state, (error, a_next)

    def learn(state: State, block: Step, key: Key) -> tuple[State, Metrics]:
        state, (errors, a_next) = _in_turn(update_ahead, state, block, memory)
        return state._replace(next_action=a_next, fresh=(block.terminated | block.truncated)[0]), _measured(errors)

    def cut(state: State, which: Array) -> State:
        return agent.cut(state, which)._replace(fresh=state.fresh | which)

    agent = _remembering(control(spec, exploration, values.init, values.look, learn), spec, memory)
    return agent._replace(init=init, noise=noise, act=act, cut=cut)


def prediction(policy: TabularPolicy, table: Table, update: Update, **memory: PyTree) -> Agent:
    """The agent that follows a policy and updates after every step.

    Args:
        policy: which it evaluates.
        table: of state values.
        update: (state, step) -> state, TD error [].
        memory: by field of the state, what it keeps of one environment's present episode, at the beginning: zeros.
            The update empties it where an episode ends.
    """
    return _remembering(_following(policy, table, after_each_step(update, memory)), table.spec, memory)


def prediction_from_returns(policy: TabularPolicy, table: Table, target: Callable) -> Agent:
    """The agent that follows a policy and learns from whole episodes; `target` as in `from_returns`."""
    return _following(policy, table, from_returns(table, target))


def after_each_step(update: Update, memory: Iterable[str] = ()) -> Learn:
    """Makes `Agent.learn`: an update after every step, one environment after the other."""

    def learn(state: State, block: Step, key: Key) -> tuple[State, Metrics]:
        state, errors = _in_turn(update, state, block, memory)
        return state, _measured(errors)

    return learn


def from_returns(table: Table, target: Callable[[State, Step], tuple[Place, Array, Array]]) -> Learn:
    """Makes `Agent.learn`: every entry that a block visits is corrected towards the return that followed, in order.

    Args:
        table: of the values.
        target: (state, steps [T] of one environment) -> the entries [T], their returns [T], and [T] whether each
            visit counts. All returns of a block look to the values before it.
    """

    def correct(state: State, visit: tuple[Place, Array, Array]) -> tuple[State, Array]:
        place, g, counts = visit
        return table.corrected(state, place, counts * (g - getattr(state, table.name)[place]), counts)

    def learn(state: State, block: Step, key: Key) -> tuple[State, Metrics]:
        visits = jax.vmap(target, (None, 1))(state, block)
        state, errors = jax.lax.scan(correct, state, jax.tree.map(lambda leaf: leaf.reshape(-1), visits))
        return state, _measured(errors)

    return learn


def _following(policy: TabularPolicy, table: Table, learn: Learn) -> Agent:
    """The agent that follows a policy."""
    rows = table.rows
    pi = policy.followed_in(rows.num_states, rows.num_actions)

    def noise(key: Key, shape: tuple[int, ...]) -> Array:
        return jax.random.uniform(key, shape)

    def act(state: State, carry: tuple[()], obs: Array, noise: Array, explore: bool):
        s = rows.state(obs)
        return (pi.draw(s, noise) if explore else pi.best(s)) + rows.first_action, carry, ()

    return Agent(table.init, no_memory, noise, act, _observe, learn, _policy)


def _observe(state: State, block: Step) -> State:
    return state._replace(step=state.step + block.reward.size)


def _policy(state: State) -> State:
    return _only(KEPT, state)


def _publish(state: State) -> State:
    return _only(READ, state)


def _only(fields: Iterable[str], state: State) -> State:
    return state._replace(**{field: () for field in state._fields if field not in fields})


def _measured(errors: Array) -> Metrics:
    return {"td_error": jnp.abs(errors).mean()}


def _remembering(agent: Agent, spec: Spec, memory: Mapping[str, PyTree]) -> Agent:
    """The agent with fields in its state that keep something of the present episode of every environment."""

    def init(key: Key) -> State:
        empty = jax.tree.map(lambda leaf: jnp.zeros((spec.num_envs, *leaf.shape), leaf.dtype), dict(memory))
        return agent.init(key)._replace(**empty)

    def cut(state: State, which: Array) -> State:
        return state._replace(**{name: forget(getattr(state, name), which) for name in memory})

    return agent._replace(init=init, cut=cut)


def _in_turn(update: Callable, state: State, block: Step, memory: Iterable[str]) -> tuple[State, PyTree]:
    """Makes an update after every step of a block, one environment after the other; returns state and outputs [B].

    Args:
        update: (state, step) -> state, output. In the fields of `memory` its state has what belongs to the environment
            of the step.
        state: of the learner.
        block: of one step.
        memory: fields of the state with a row for every environment.
    """

    def one(state: State, inputs: tuple[Step, dict[str, PyTree]]) -> tuple[State, tuple[dict[str, PyTree], PyTree]]:
        step, own = inputs
        state, output = update(state._replace(**own), step)
        return state._replace(**nothing), ({name: getattr(state, name) for name in memory}, output)

    nothing = dict.fromkeys(memory, ())
    rows = {name: getattr(state, name) for name in memory}
    state, (rows, output) = jax.lax.scan(one, state._replace(**nothing), (one_by_one(block), rows))
    return state._replace(**rows), output
