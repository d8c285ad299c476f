"""Instruments of a training: what stops it, films it, and carries its numbers to where people look at them."""

from polyak.callbacks.film import Film
from polyak.callbacks.json_lines import JsonLines
from polyak.callbacks.notes import from_notes, to_notes
from polyak.callbacks.protocol import Callback, Calls, Stop
from polyak.callbacks.stopping import StopAtReturn, StopWithoutImprovement, TimeLimit
from polyak.callbacks.tensorboard import TensorBoard
from polyak.callbacks.weights_and_biases import WeightsAndBiases

__all__ = [
    "Callback",
    "Calls",
    "Film",
    "JsonLines",
    "Stop",
    "StopAtReturn",
    "StopWithoutImprovement",
    "TensorBoard",
    "TimeLimit",
    "WeightsAndBiases",
    "from_notes",
    "to_notes",
]
