"""polyak: reinforcement learning on JAX. The public names; JAX is loaded when one of them first needs it."""

from typing import TYPE_CHECKING

from polyak import lazy

if TYPE_CHECKING:
    from polyak.agent import Agent, Algorithm, Spec, Step
    from polyak.algorithms.linear.linear_q_learning import LinearQLearning
    from polyak.algorithms.linear.linear_sarsa import LinearSARSA
    from polyak.algorithms.planning.backward_induction import backward_induction, expected_return
    from polyak.algorithms.planning.policy_evaluation import (
        policy_evaluation,
        policy_evaluation_exact,
        policy_improvement,
    )
    from polyak.algorithms.planning.policy_iteration import modified_policy_iteration, policy_iteration
    from polyak.algorithms.planning.prioritised_sweeping import prioritised_sweeping
    from polyak.algorithms.planning.value_iteration import value_iteration
    from polyak.algorithms.policy.a2c import A2C
    from polyak.algorithms.policy.ppo import PPO
    from polyak.algorithms.policy.reinforce import REINFORCE
    from polyak.algorithms.policy.trpo import TRPO
    from polyak.algorithms.tabular.afterstate_td import AfterstateTD
    from polyak.algorithms.tabular.double_q_learning import DoubleQLearning
    from polyak.algorithms.tabular.dyna_q import DynaQ
    from polyak.algorithms.tabular.expected_sarsa import ExpectedSARSA
    from polyak.algorithms.tabular.lambda_return import LambdaReturn
    from polyak.algorithms.tabular.monte_carlo import MonteCarlo
    from polyak.algorithms.tabular.monte_carlo_prediction import MonteCarloPrediction
    from polyak.algorithms.tabular.n_step_sarsa import NStepSARSA
    from polyak.algorithms.tabular.n_step_td import NStepTD
    from polyak.algorithms.tabular.off_policy_monte_carlo import OffPolicyMonteCarlo
    from polyak.algorithms.tabular.q_lambda import QLambda
    from polyak.algorithms.tabular.q_learning import QLearning
    from polyak.algorithms.tabular.sarsa import SARSA
    from polyak.algorithms.tabular.sarsa_lambda import SARSALambda
    from polyak.algorithms.tabular.tabular_cem import TabularCEM
    from polyak.algorithms.tabular.td import TD
    from polyak.algorithms.tabular.td_lambda import TDLambda
    from polyak.algorithms.value.c51 import C51
    from polyak.algorithms.value.dqn import DQN
    from polyak.algorithms.value.iqn import IQN
    from polyak.algorithms.value.pqn import PQN
    from polyak.algorithms.value.qr_dqn import QRDQN
    from polyak.algorithms.value.rainbow import Rainbow
    from polyak.algorithms.value.recurrent_dqn import RecurrentDQN
    from polyak.callbacks import (
        Callback,
        Film,
        JsonLines,
        Stop,
        StopAtReturn,
        StopWithoutImprovement,
        TensorBoard,
        TimeLimit,
        WeightsAndBiases,
    )
    from polyak.envs import CompiledEnv, make
    from polyak.envs.check import Finding, Findings, check
    from polyak.envs.masks import MaskActions
    from polyak.envs.mdp import MDP
    from polyak.errors import Error
    from polyak.evaluation import Scores, evaluate
    from polyak.parts.exploration import UCB, Boltzmann, EpsilonGreedy, EpsilonLadder, Greedy, NoisyGreedy
    from polyak.parts.features import Fourier, Polynomial, Radial, Raw, Tiles
    from polyak.parts.networks import MLP, Dueling, ImpalaCNN, MinAtarCNN, NatureCNN, NipsCNN, Recurrent
    from polyak.parts.optimise import Adam, RAdam, RMSProp
    from polyak.parts.policies import TabularPolicy
    from polyak.parts.replay import Prioritised, Uniform
    from polyak.parts.schedules import StepSize
    from polyak.pictures.action_values import draw_q
    from polyak.pictures.curves import draw_curves
    from polyak.pictures.path import draw_path
    from polyak.pictures.picture import Picture
    from polyak.pictures.values import draw_values
    from polyak.policy import Policy, load
    from polyak.run import Run
    from polyak.training import resume, train

_HOMES = {
    "polyak.agent": ("Agent", "Algorithm", "Spec", "Step"),
    "polyak.algorithms.planning.backward_induction": ("backward_induction", "expected_return"),
    "polyak.algorithms.planning.policy_evaluation": (
        "policy_evaluation",
        "policy_evaluation_exact",
        "policy_improvement",
    ),
    "polyak.algorithms.planning.policy_iteration": ("modified_policy_iteration", "policy_iteration"),
    "polyak.algorithms.planning.prioritised_sweeping": ("prioritised_sweeping",),
    "polyak.algorithms.planning.value_iteration": ("value_iteration",),
    "polyak.algorithms.linear.linear_q_learning": ("LinearQLearning",),
    "polyak.algorithms.linear.linear_sarsa": ("LinearSARSA",),
    "polyak.algorithms.policy.a2c": ("A2C",),
    "polyak.algorithms.policy.ppo": ("PPO",),
    "polyak.algorithms.policy.reinforce": ("REINFORCE",),
    "polyak.algorithms.policy.trpo": ("TRPO",),
    "polyak.algorithms.tabular.double_q_learning": ("DoubleQLearning",),
    "polyak.algorithms.tabular.expected_sarsa": ("ExpectedSARSA",),
    "polyak.algorithms.tabular.q_learning": ("QLearning",),
    "polyak.algorithms.tabular.sarsa": ("SARSA",),
    "polyak.algorithms.tabular.dyna_q": ("DynaQ",),
    "polyak.algorithms.tabular.n_step_sarsa": ("NStepSARSA",),
    "polyak.algorithms.tabular.q_lambda": ("QLambda",),
    "polyak.algorithms.tabular.sarsa_lambda": ("SARSALambda",),
    "polyak.algorithms.tabular.afterstate_td": ("AfterstateTD",),
    "polyak.algorithms.tabular.tabular_cem": ("TabularCEM",),
    "polyak.algorithms.tabular.lambda_return": ("LambdaReturn",),
    "polyak.algorithms.tabular.monte_carlo": ("MonteCarlo",),
    "polyak.algorithms.tabular.monte_carlo_prediction": ("MonteCarloPrediction",),
    "polyak.algorithms.tabular.n_step_td": ("NStepTD",),
    "polyak.algorithms.tabular.td": ("TD",),
    "polyak.algorithms.tabular.td_lambda": ("TDLambda",),
    "polyak.algorithms.tabular.off_policy_monte_carlo": ("OffPolicyMonteCarlo",),
    "polyak.algorithms.value.c51": ("C51",),
    "polyak.algorithms.value.dqn": ("DQN",),
    "polyak.algorithms.value.iqn": ("IQN",),
    "polyak.algorithms.value.pqn": ("PQN",),
    "polyak.algorithms.value.qr_dqn": ("QRDQN",),
    "polyak.algorithms.value.rainbow": ("Rainbow",),
    "polyak.algorithms.value.recurrent_dqn": ("RecurrentDQN",),
    "polyak.callbacks": (
        "Callback",
        "Film",
        "JsonLines",
        "Stop",
        "StopAtReturn",
        "StopWithoutImprovement",
        "TensorBoard",
        "TimeLimit",
        "WeightsAndBiases",
    ),
    "polyak.envs": ("CompiledEnv", "make"),
    "polyak.envs.check": ("Finding", "Findings", "check"),
    "polyak.envs.masks": ("MaskActions",),
    "polyak.envs.mdp": ("MDP",),
    "polyak.errors": ("Error",),
    "polyak.evaluation": ("Scores", "evaluate"),
    "polyak.parts.exploration": ("UCB", "Boltzmann", "EpsilonGreedy", "EpsilonLadder", "Greedy", "NoisyGreedy"),
    "polyak.parts.features": ("Fourier", "Polynomial", "Radial", "Raw", "Tiles"),
    "polyak.parts.networks": ("MLP", "Dueling", "ImpalaCNN", "MinAtarCNN", "NatureCNN", "NipsCNN", "Recurrent"),
    "polyak.parts.optimise": ("Adam", "RAdam", "RMSProp"),
    "polyak.parts.policies": ("TabularPolicy",),
    "polyak.parts.replay": ("Prioritised", "Uniform"),
    "polyak.parts.schedules": ("StepSize",),
    "polyak.pictures.action_values": ("draw_q",),
    "polyak.pictures.curves": ("draw_curves",),
    "polyak.pictures.path": ("draw_path",),
    "polyak.pictures.picture": ("Picture",),
    "polyak.pictures.values": ("draw_values",),
    "polyak.policy": ("Policy", "load"),
    "polyak.run": ("Run",),
    "polyak.training": ("resume", "train"),
}

__all__ = [
    "A2C",
    "C51",
    "DQN",
    "IQN",
    "MDP",
    "MLP",
    "PPO",
    "PQN",
    "QRDQN",
    "REINFORCE",
    "SARSA",
    "TD",
    "TRPO",
    "UCB",
    "Adam",
    "AfterstateTD",
    "Agent",
    "Algorithm",
    "Boltzmann",
    "Callback",
    "CompiledEnv",
    "DoubleQLearning",
    "Dueling",
    "DynaQ",
    "EpsilonGreedy",
    "EpsilonLadder",
    "Error",
    "ExpectedSARSA",
    "Film",
    "Finding",
    "Findings",
    "Fourier",
    "Greedy",
    "ImpalaCNN",
    "JsonLines",
    "LambdaReturn",
    "LinearQLearning",
    "LinearSARSA",
    "MaskActions",
    "MinAtarCNN",
    "MonteCarlo",
    "MonteCarloPrediction",
    "NStepSARSA",
    "NStepTD",
    "NatureCNN",
    "NipsCNN",
    "NoisyGreedy",
    "OffPolicyMonteCarlo",
    "Picture",
    "Policy",
    "Polynomial",
    "Prioritised",
    "QLambda",
    "QLearning",
    "RAdam",
    "RMSProp",
    "Radial",
    "Rainbow",
    "Raw",
    "Recurrent",
    "RecurrentDQN",
    "Run",
    "SARSALambda",
    "Scores",
    "Spec",
    "Step",
    "StepSize",
    "Stop",
    "StopAtReturn",
    "StopWithoutImprovement",
    "TDLambda",
    "TabularCEM",
    "TabularPolicy",
    "TensorBoard",
    "Tiles",
    "TimeLimit",
    "Uniform",
    "WeightsAndBiases",
    "backward_induction",
    "check",
    "draw_curves",
    "draw_path",
    "draw_q",
    "draw_values",
    "evaluate",
    "expected_return",
    "load",
    "make",
    "modified_policy_iteration",
    "policy_evaluation",
    "policy_evaluation_exact",
    "policy_improvement",
    "policy_iteration",
    "prioritised_sweeping",
    "resume",
    "train",
    "value_iteration",
]

__getattr__ = lazy.names_of(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
