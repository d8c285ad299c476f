"""The hyperparameters that algorithms share: the type, the range and the sentence of each, said once.

A field of an algorithm names one as its type, `gamma: hyper.Gamma = 0.99`; the command line prints its sentence, and
`settings.check` holds its range. A hyperparameter of one algorithm alone has a type of `parts.ranges` and its sentence
as a docstring below it. Names are Stable-Baselines3's where the meaning is the same.
"""

from typing import Annotated

from typing_extensions import Doc

from polyak.parts import action_noise, exploration, features, networks, optimise, policies, priors, replay, schedules
from polyak.parts.ranges import (
    LARGEST_INT,
    BlockLength,
    Count,
    Finite,
    NotNegative,
    Positive,
    PositiveShare,
    Range,
    Rate,
    Share,
    Whole,
)

# Every algorithm

Gamma = Annotated[Share, Doc("Discount per step, in [0, 1].")]
NormalizeObservation = Annotated[bool, Doc("Standardise observations by their running mean and deviation.")]

# Networks and their optimizer

LearningRate = Annotated[Rate, Doc("Step size of the optimizer.")]
AnnealLearningRate = Annotated[
    bool, Doc("Let the learning rate fall linearly to 0 over the run, which steadies the final policy.")
]
MaxGradNorm = Annotated[Positive, Doc("Norm at which the gradient is clipped.")]
Optimizer = Annotated[optimise.Optimizer, Doc("The rule that moves the parameters: adam, radam, rmsprop.")]
PolicyNetwork = Annotated[
    networks.Network,
    Doc("Used once for the policy and once for the value: mlp, minatar, nips, nature, impala."),
]
PolicyNetworkOrRecurrent = Annotated[
    networks.Network | networks.Recurrent,
    Doc(
        "Used once for the policy and once for the value: mlp, minatar, nips, nature, impala; memory: +gru, +lstm, ..."
    ),
]

# Replay memories

BufferSize = Annotated[Count, Doc("Transitions that the replay memory holds.")]
LearningStarts = Annotated[Whole, Doc("Environment steps before the first update.")]
BatchSize = Annotated[Count, Doc("Transitions per gradient step.")]
TrainFreq = Annotated[Count, Doc("Steps of every environment between two rounds of updates.")]
GradientSteps = Annotated[
    int,
    Range(1, LARGEST_INT, also=(-1,)),
    Doc("Gradient steps per round; -1 for as many as transitions were collected."),
]
TargetUpdateInterval = Annotated[
    Count, Doc("Environment steps between two renewals of the target network, counted as they are learnt from.")
]
Tau = Annotated[Share, Doc("How far a renewal moves the target towards the online network; 1 is a copy.")]
NStepReturn = Annotated[
    BlockLength,
    Doc("Rewards that are summed before a value stands for the rest (not corrected for the actions in between)."),
]
Replay = Annotated[
    replay.Sampling, Doc("Which transitions are drawn, and with which goals: uniform, prioritised, hindsight:4.")
]
FrameStack = Annotated[
    Count,
    Doc("Frames of an observation, where it is a stack of the newest ones: the memory then keeps each frame once."),
]

# Action values of a network

ExplorationFraction = Annotated[
    Share, Doc("Share of the run over which epsilon falls from its first value to its last.")
]
ExplorationInitialEps = Annotated[Share, Doc("Epsilon at the first step.")]
ExplorationFinalEps = Annotated[Share, Doc("Epsilon once the schedule is over.")]
NetworkExploration = Annotated[
    exploration.Exploration | None,
    Doc("What explores in place of the three above: greedy, epsilon:FIRST:LAST:SHARE, ladder, boltzmann, noise."),
]
Double = Annotated[bool, Doc("Let the online network choose the action that the target network evaluates.")]
HuberDelta = Annotated[
    Positive,
    Doc("TD error, in units of return, beyond which the loss grows linearly; above all errors it is the squared loss."),
]
QuantileHuberDelta = Annotated[Positive, Doc("kappa: errors beyond it, in units of return, count linearly.")]
NumAtoms = Annotated[int, Range(2, LARGEST_INT), Doc("Returns that a distribution is about.")]
VMin = Annotated[Finite, Doc("The least of them, in units of return.")]
VMax = Annotated[Finite, Doc("The largest of them; returns beyond the two count as the nearer one.")]

# Actors and critics that learn from a replay memory

ActorNetwork = Annotated[networks.Network, Doc("The network of the policy: mlp, minatar, nips, nature, impala.")]
CriticNetwork = Annotated[
    networks.Network, Doc("The network of each critic, which reads the action too: mlp, minatar, nips, nature, impala.")
]
WarmUp = Annotated[Whole, Doc("Environment steps before the first update; actions are uniform until then.")]
ActionNoise = Annotated[
    action_noise.ActionNoise,
    Doc("Noise that actions explore by, in units of half their range: normal:SIGMA, ou:SIGMA:THETA:DT."),
]
ActionNoiseOrNone = Annotated[
    action_noise.ActionNoise | None,
    Doc("Noise added to sampled actions, in units of half their range: none, normal:SIGMA, ou:SIGMA:THETA:DT."),
]
PolicyDelay = Annotated[Count, Doc("Gradient steps of the critics for each of the policy.")]
TemperatureOrNone = Annotated[
    NotNegative | None,
    Doc("alpha, the weight of entropy, in units of reward per nat; none learns it."),
]
FirstTemperature = Annotated[Positive, Doc("alpha at the first step, where it is learnt.")]
TargetEntropy = Annotated[
    Finite | None,
    Doc("Entropy in nats, of actions scaled to [-1, 1], that a learnt alpha keeps; none is -1 a coordinate."),
]

# Policies that learn from blocks of fresh steps

BlockSteps = Annotated[BlockLength, Doc("Steps of every environment between two rounds of updates.")]
EpisodeSteps = Annotated[BlockLength, Doc("Steps of every environment in a block; several episodes should fit in.")]
MinibatchSize = Annotated[Count, Doc("Steps per gradient step; divides n_steps x num_envs.")]
NumEpochs = Annotated[Count, Doc("Passes over each block of steps.")]
GaeLambda = Annotated[Share, Doc("Lambda of the advantage estimate: 0 trusts the value, 1 the returns.")]
EntCoef = Annotated[NotNegative, Doc("Weight of the entropy bonus.")]
VfCoef = Annotated[NotNegative, Doc("Weight of the value loss.")]
PolicyLag = Annotated[
    Whole, Doc("Updates by which the policy that acts is older than the one that learns; a cluster has its own lag.")
]
ClipRho = Annotated[
    Positive, Doc("The most that a step counts whose action is likelier by now than it was; decides what V is of.")
]
ClipC = Annotated[Positive, Doc("The most that such a step hands on to the steps before it.")]
PolicySequenceLength = Annotated[
    Count, Doc("Steps that a network with a memory learns from in a row; divides n_steps and batch_size.")
]
LogStdInit = Annotated[
    float, Range(-20, 20), Doc("Log of the standard deviation that actions begin with, where they are numbers.")
]
StateDependentStd = Annotated[
    bool, Doc("Let the network compute the deviations too; else they are parameters of their own.")
]
Squash = Annotated[bool, Doc("Keep actions that are numbers within their bounds by tanh; else they are clipped.")]
NormalizeReward = Annotated[bool, Doc("Divide rewards by the running deviation of the discounted return.")]

# Searches among policies

SessionLength = Annotated[
    BlockLength,
    Doc("Steps of a session, best the time limit: a policy's score is the return of the first episode that fits in."),
]
EpisodesPerMember = Annotated[
    Count, Doc("Episodes that each member is scored by; the population has num_envs / episodes_per_member members.")
]
MemberNetwork = Annotated[
    networks.Network, Doc("The network of each policy: mlp:none is linear; mlp, minatar, nips, nature, impala.")
]
InitialSigma = Annotated[Positive, Doc("Standard deviation of the first members around the first policy.")]
Sigma = Annotated[Positive, Doc("Standard deviation of the members around the policy that is moved.")]
EliteShare = Annotated[PositiveShare, Doc("Share of the members, the best, that the next ones are made of.")]

# Tables and linear values

StepSize = Annotated[
    float | schedules.StepSize,
    Range(0, 1e6, above=True),
    Doc("Step size: 0.1, from one value to another over the run (0.5:0.01), or falling with visits (1/n, 1/n^0.8)."),
]
AveragingStepSize = Annotated[
    float | schedules.StepSize,
    Range(0, 1e6, above=True),
    Doc("Step size: 1/n averages; 0.1 forgets old returns, 0.5:0.01 fewer and fewer of them."),
]
LinearStepSize = Annotated[
    float | schedules.StepSize,
    Range(0, 1e6, above=True),
    Doc("Step size: 0.3, or from one value to another over the run (0.5:0.01); tiles divide it by their grids."),
]
Exploration = Annotated[
    exploration.Exploration,
    Doc("How other actions are tried: epsilon:0.1, epsilon:1:0.05:0.5, boltzmann:1, noise:1, ucb:2."),
]
ExplorationWithProbabilities = Annotated[
    exploration.Exploration,
    Doc("How other actions are tried: epsilon:0.1, epsilon:1:0.05:0.5, boltzmann:1, ucb:2."),
]
ExplorationWithoutVisits = Annotated[
    exploration.Exploration,
    Doc("How other actions are tried: epsilon:0.1, epsilon:1:0.05:0.5, boltzmann:1, noise:1."),
]
InitialActionValue = Annotated[
    Finite,
    Doc("The value of every action before the first step; one that no return reaches makes all of them be tried."),
]
InitialStateValue = Annotated[Finite, Doc("The value of every state before the first step.")]
TraceLambda = Annotated[Share, Doc("How slowly traces fade, in [0, 1]: 0 corrects one step, 1 the whole episode.")]
ReplacingTraces = Annotated[
    bool,
    Doc("Set the trace of a step to 1 instead of adding 1 to it: steadier where a state is visited again and again."),
]
CappedTraces = Annotated[bool, Doc("Keep traces at 1 at most, which suits features that are 0 or 1.")]
NStep = Annotated[BlockLength, Doc("Rewards that are summed before a value stands for the rest.")]
EvaluatedPolicy = Annotated[
    policies.TabularPolicy,
    Doc("The policy to evaluate: uniform, 0,1,1 (an action a state), 0.5,0.5:0.9,0.1 (probabilities, a row a state)."),
]
Features = Annotated[
    features.Features,
    Doc("Values are linear in these: raw, polynomial:2, fourier:3, radial:5, tiles:8:8 (grids, tiles along each)."),
]

# Bandits

Prior = Annotated[
    priors.Prior,
    Doc(
        "What is believed at first: beta:SUCCESSES:FAILURES (rewards 0 and 1), normal:MEAN:DEVIATION:REWARD_DEVIATION."
    ),
]
