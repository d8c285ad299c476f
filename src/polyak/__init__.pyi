# The public names, each once: `import polyak` finds them here and loads their modules when they are first used, editors
# and type checkers read the same lines, and the algorithms of the command line are those of this page, in this order.

__version__: str

# Training, and what comes of it
from .bandit_regret import Regret as Regret, regret as regret
from .errors import Error as Error
from .evaluation import Scores as Scores, evaluate as evaluate
from .matches import Arena as Arena, arena as arena
from .policy import Policy as Policy, load as load
from .run import Run as Run
from .runs.video import Video as Video, film as film
from .sweeps import Sweep as Sweep
from .training import resume as resume, sweep as sweep, train as train

# Callbacks
from .callbacks import (
    Callback as Callback,
    Film as Film,
    JsonLines as JsonLines,
    Stop as Stop,
    StopAtReturn as StopAtReturn,
    StopWithoutImprovement as StopWithoutImprovement,
    TensorBoard as TensorBoard,
    TimeLimit as TimeLimit,
    WeightsAndBiases as WeightsAndBiases,
)

# Environments
from .envs import Bandit as Bandit, CompiledEnv as CompiledEnv, bandits as bandits, make as make
from .envs.games.drawing import Board as Board, show as show
from .envs.check import Finding as Finding, Findings as Findings, check as check
from .envs.masks import MaskActions as MaskActions
from .envs.mdp import MDP as MDP

# Algorithms that learn: tables, linear values, values of a network, policies, policies for continuous actions, searches
from .algorithms.tabular.monte_carlo_prediction import MonteCarloPrediction as MonteCarloPrediction
from .algorithms.tabular.td import TD as TD
from .algorithms.tabular.n_step_td import NStepTD as NStepTD
from .algorithms.tabular.td_lambda import TDLambda as TDLambda
from .algorithms.tabular.lambda_return import LambdaReturn as LambdaReturn
from .algorithms.tabular.tabular_cem import TabularCEM as TabularCEM
from .algorithms.tabular.monte_carlo import MonteCarlo as MonteCarlo
from .algorithms.tabular.off_policy_monte_carlo import OffPolicyMonteCarlo as OffPolicyMonteCarlo
from .algorithms.tabular.sarsa import SARSA as SARSA
from .algorithms.tabular.expected_sarsa import ExpectedSARSA as ExpectedSARSA
from .algorithms.tabular.n_step_sarsa import NStepSARSA as NStepSARSA
from .algorithms.tabular.sarsa_lambda import SARSALambda as SARSALambda
from .algorithms.tabular.q_learning import QLearning as QLearning
from .algorithms.tabular.double_q_learning import DoubleQLearning as DoubleQLearning
from .algorithms.tabular.q_lambda import QLambda as QLambda
from .algorithms.tabular.dyna_q import DynaQ as DynaQ
from .algorithms.tabular.afterstate_td import AfterstateTD as AfterstateTD
from .algorithms.bandits.action_value_bandit import ActionValueBandit as ActionValueBandit
from .algorithms.bandits.gradient_bandit import GradientBandit as GradientBandit
from .algorithms.bandits.exp3 import EXP3 as EXP3
from .algorithms.bandits.thompson_sampling import ThompsonSampling as ThompsonSampling
from .algorithms.linear.linear_sarsa import LinearSARSA as LinearSARSA
from .algorithms.linear.linear_q_learning import LinearQLearning as LinearQLearning
from .algorithms.value.dqn import DQN as DQN
from .algorithms.value.apex_dqn import ApexDQN as ApexDQN
from .algorithms.value.c51 import C51 as C51
from .algorithms.value.qr_dqn import QRDQN as QRDQN
from .algorithms.value.iqn import IQN as IQN
from .algorithms.value.rainbow import Rainbow as Rainbow
from .algorithms.value.recurrent_dqn import RecurrentDQN as RecurrentDQN
from .algorithms.value.pqn import PQN as PQN
from .algorithms.value.async_q_learning import AsyncQLearning as AsyncQLearning
from .algorithms.policy.reinforce import REINFORCE as REINFORCE
from .algorithms.policy.a2c import A2C as A2C
from .algorithms.policy.a3c import A3C as A3C
from .algorithms.policy.impala import IMPALA as IMPALA
from .algorithms.policy.trpo import TRPO as TRPO
from .algorithms.policy.ppo import PPO as PPO
from .algorithms.policy.appo import APPO as APPO
from .algorithms.continuous.ddpg import DDPG as DDPG
from .algorithms.continuous.apex_ddpg import ApexDDPG as ApexDDPG
from .algorithms.continuous.td3 import TD3 as TD3
from .algorithms.continuous.sac import SAC as SAC
from .algorithms.continuous.tqc import TQC as TQC
from .algorithms.continuous.redq import REDQ as REDQ
from .algorithms.continuous.droq import DroQ as DroQ
from .algorithms.continuous.crossq import CrossQ as CrossQ
from .algorithms.continuous.discrete_sac import DiscreteSAC as DiscreteSAC
from .algorithms.continuous.recurrent_sac import RecurrentSAC as RecurrentSAC
from .algorithms.search.random_search import RandomSearch as RandomSearch
from .algorithms.search.hill_climbing import HillClimbing as HillClimbing
from .algorithms.search.simulated_annealing import SimulatedAnnealing as SimulatedAnnealing
from .algorithms.search.genetic import Genetic as Genetic
from .algorithms.search.cem import CEM as CEM
from .algorithms.search.openai_es import OpenAIES as OpenAIES
from .algorithms.search.ars import ARS as ARS
from .algorithms.search.deep_cem import DeepCEM as DeepCEM
from .algorithms.search.cma_es import CMAES as CMAES
from .algorithms.search.nelder_mead import NelderMead as NelderMead
from .algorithms.tree_search.mcts import MCTS as MCTS
from .algorithms.tree_search.alphazero import AlphaZero as AlphaZero

# Bandits with contexts
from .algorithms.bandits.lin_greedy import LinGreedy as LinGreedy
from .algorithms.bandits.linucb import LinUCB as LinUCB
from .algorithms.bandits.lints import LinTS as LinTS
from .algorithms.bandits.neural_linear import NeuralLinear as NeuralLinear

# Planning, on an `MDP`
from .algorithms.planning.backward_induction import (
    backward_induction as backward_induction,
    expected_return as expected_return,
)
from .algorithms.planning.policy_evaluation import (
    policy_evaluation as policy_evaluation,
    policy_evaluation_exact as policy_evaluation_exact,
    policy_improvement as policy_improvement,
)
from .algorithms.planning.policy_iteration import (
    modified_policy_iteration as modified_policy_iteration,
    policy_iteration as policy_iteration,
)
from .algorithms.planning.prioritised_sweeping import prioritised_sweeping as prioritised_sweeping
from .algorithms.planning.value_iteration import value_iteration as value_iteration

# Searching from one state
from .searching import Search as Search, mcts as mcts

# Parts of algorithms
from .parts.action_noise import GaussianNoise as GaussianNoise, OrnsteinUhlenbeckNoise as OrnsteinUhlenbeckNoise
from .parts.exploration import (
    UCB as UCB,
    Boltzmann as Boltzmann,
    EpsilonGreedy as EpsilonGreedy,
    EpsilonLadder as EpsilonLadder,
    Greedy as Greedy,
    NoisyGreedy as NoisyGreedy,
)
from .parts.features import Fourier as Fourier, Polynomial as Polynomial, Radial as Radial, Raw as Raw, Tiles as Tiles
from .parts.networks import (
    MLP as MLP,
    Dueling as Dueling,
    ImpalaCNN as ImpalaCNN,
    MinAtarCNN as MinAtarCNN,
    NatureCNN as NatureCNN,
    NipsCNN as NipsCNN,
    Recurrent as Recurrent,
)
from .parts.optimise import Adam as Adam, RAdam as RAdam, RMSProp as RMSProp
from .parts.policies import TabularPolicy as TabularPolicy
from .parts.priors import BetaPrior as BetaPrior, NormalPrior as NormalPrior
from .parts.replay import Hindsight as Hindsight, Prioritised as Prioritised, Uniform as Uniform
from .parts.schedules import StepSize as StepSize

# Pictures
from .pictures.action_values import draw_q as draw_q
from .pictures.curves import draw_curves as draw_curves
from .pictures.landscape import draw_landscape as draw_landscape, linear_policy_score as linear_policy_score
from .pictures.path import draw_path as draw_path
from .pictures.picture import Picture as Picture
from .pictures.ratings import draw_ratings as draw_ratings
from .pictures.regret import draw_regret as draw_regret
from .pictures.values import draw_values as draw_values

# What an algorithm of your own is made of
from .agent import (
    Agent as Agent,
    Algorithm as Algorithm,
    Goal as Goal,
    Position as Position,
    Spec as Spec,
    Step as Step,
    Symmetries as Symmetries,
)
