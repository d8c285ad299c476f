"""One file an algorithm, grouped as a textbook does; `ALGORITHMS` names those that train on blocks of steps."""

from polyak.agent import Algorithm
from polyak.algorithms.linear.linear_q_learning import LinearQLearning
from polyak.algorithms.linear.linear_sarsa import LinearSARSA
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

KINDS: tuple[type[Algorithm], ...] = (
    MonteCarloPrediction,
    TD,
    NStepTD,
    TDLambda,
    LambdaReturn,
    TabularCEM,
    MonteCarlo,
    OffPolicyMonteCarlo,
    SARSA,
    ExpectedSARSA,
    NStepSARSA,
    SARSALambda,
    QLearning,
    DoubleQLearning,
    QLambda,
    DynaQ,
    AfterstateTD,
    LinearSARSA,
    LinearQLearning,
    DQN,
    C51,
    QRDQN,
    IQN,
    Rainbow,
    RecurrentDQN,
    PQN,
    REINFORCE,
    A2C,
    TRPO,
    PPO,
)
ALGORITHMS: dict[str, type[Algorithm]] = {kind.name: kind for kind in KINDS}
