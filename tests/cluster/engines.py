"""Cluster engines whose actors are in this process."""

from polyak.agent import Spec
from polyak.cluster.messages import Task
from polyak.cluster.plan import plan
from polyak.engines.cluster import ClusterEngine
from polyak.envs import CompiledEnv, make
from polyak.envs.goal_functions import GoalFunctions
from tests.cluster.ports import InProcess


def spec_of(env, num_envs, steps=100_000):
    known = make(env, 1)
    goal = GoalFunctions(env, known).goal
    spec = Spec(known.observation_space, known.action_space, num_envs, known.max_episode_steps, steps, goal)
    return spec._replace(simulator=known if isinstance(known, CompiledEnv) else None), known


def cluster(algorithm, env, actors, num_envs, max_staleness=None, on_fault="stop", tell=lambda: None):
    spec, known = spec_of(env, num_envs)
    shared_out = plan(algorithm, actors, num_envs, max_staleness)
    spec = spec._replace(streamed=shared_out.streamed)
    name = env if isinstance(env, str) else "own"
    facts = (shared_out.of, on_fault, shared_out.flow == "gradients")
    tasks = [Task(algorithm, env, name, spec.total_steps, num_envs, *share, *facts) for share in shared_out.shares]
    on_machine = not isinstance(known, CompiledEnv)
    agent, port = algorithm.agent(spec), InProcess(tasks)
    return ClusterEngine(algorithm, agent, spec, 16, port, shared_out, on_machine, 60.0, tell)
