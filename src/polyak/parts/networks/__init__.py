"""Networks: what an algorithm is given to turn observations into numbers.

A network here is a small frozen dataclass that says which network (`MLP(hidden=(64, 64))`); `init` makes its
parameters, an Equinox module whose leaves are all arrays and which is called on encoded observations with any leading
dimensions. Each has a one-line text form, `mlp:64,64:tanh`, for the command line, presets and run folders.
"""

from polyak.parts.networks.cores import GRU, LSTM, Transformer
from polyak.parts.networks.encoding import encode, num_features
from polyak.parts.networks.images import ImpalaCNN, MinAtarCNN, NatureCNN, NipsCNN
from polyak.parts.networks.layers import (
    ACTIVATIONS,
    Initialiser,
    Linear,
    NoisyLinear,
    Torso,
    by_columns,
    by_rows,
    layer_norm,
    noise,
    orthogonal,
    uniform,
)
from polyak.parts.networks.network import Module, Network
from polyak.parts.networks.perceptrons import MLP, Dueling, DuelingHeads, Perceptron
from polyak.parts.networks.recurrent import Recurrent, RecurrentNetwork, refuse_noisy
from polyak.parts.networks.text import (
    NETWORKS,
    any_network_from_text,
    any_network_text,
    network_from_text,
    network_text,
    recurrent_from_text,
    recurrent_text,
)
from polyak.parts.networks.weights import Weights

__all__ = [
    "ACTIVATIONS",
    "GRU",
    "LSTM",
    "MLP",
    "NETWORKS",
    "Dueling",
    "DuelingHeads",
    "ImpalaCNN",
    "Initialiser",
    "Linear",
    "MinAtarCNN",
    "Module",
    "NatureCNN",
    "Network",
    "NipsCNN",
    "NoisyLinear",
    "Perceptron",
    "Recurrent",
    "RecurrentNetwork",
    "Torso",
    "Transformer",
    "Weights",
    "any_network_from_text",
    "any_network_text",
    "by_columns",
    "by_rows",
    "encode",
    "layer_norm",
    "network_from_text",
    "network_text",
    "noise",
    "num_features",
    "orthogonal",
    "recurrent_from_text",
    "recurrent_text",
    "refuse_noisy",
    "uniform",
]
