"""Networks on one line, for the command line, presets and run folders."""

from collections.abc import Callable
from typing import Any

from polyak.errors import BadSetting, UnknownName
from polyak.parts.networks.images import ImpalaCNN, MinAtarCNN, NatureCNN, NipsCNN
from polyak.parts.networks.network import Network
from polyak.parts.networks.perceptrons import MLP, Dueling
from polyak.parts.networks.recurrent import Recurrent
from polyak.parts.text import number_text, quoted, whole_number

MOST_LAYERS = 100  # hidden ones
SIGMA = 0.5  # of noisy layers (Fortunato et al., 2018, section 3.2)

NETWORKS: dict[str, Callable[..., Network]] = {
    kind.name: kind for kind in (MLP, Dueling, MinAtarCNN, NipsCNN, NatureCNN, ImpalaCNN)
}
STREAMS = (MinAtarCNN.name, NipsCNN.name, NatureCNN.name, ImpalaCNN.name)  # which take the option `dueling`


def network_text(network: Network) -> str:
    """`mlp:64,64:tanh`; `mlp:none:relu` for a linear one; options follow: `nature:512:relu:layer_norm:noisy:dueling`.

    `noisy` stands for sigma_0 = 0.5, `noisy=0.4` for another.
    """
    text = f"{network.name}:{','.join(map(str, network.hidden)) or 'none'}:{network.activation}"
    text += ":layer_norm" * network.layer_norm
    if network.noisy is not None:
        text += ":noisy" if network.noisy == SIGMA else f":noisy={number_text(network.noisy)}"
    return text + ":dueling" * (network.dueling and network.name in STREAMS)


def network_from_text(text: str) -> Network:
    """Reads `mlp`, `mlp:64,64`, `mlp:64,64:tanh`, `nature:512:relu:noisy:dueling`; else raises a `polyak.Error`."""
    if "+" in text:
        raise BadSetting(
            f"The network {quoted(text)} has a memory, which this algorithm does not use; leave out what follows +."
        )
    name, hidden, activation, *options = text.split(":") + [""] * (2 - text.count(":"))
    if name not in NETWORKS:
        raise UnknownName("network", name, NETWORKS)
    settings: dict[str, Any] = {}
    if hidden == "none":
        settings["hidden"] = ()
    elif hidden:
        settings["hidden"] = _widths(text, hidden)
    if activation:
        settings["activation"] = activation
    for option in filter(None, options):
        key, value = _option(text, option, name in STREAMS)
        if key in settings:
            raise BadSetting(f"The network {quoted(text)} says {option} twice.")
        settings[key] = value
    return NETWORKS[name](**settings)


def _widths(text: str, hidden: str) -> tuple[int, ...]:
    try:
        widths = tuple(map(whole_number, hidden.split(",")))
    except ValueError:
        raise BadSetting(f"The network {quoted(text)} is not of the form name:width,width:activation.") from None
    if len(widths) > MOST_LAYERS:
        raise BadSetting(f"A network of {len(widths)} layers is asked for, and {MOST_LAYERS} are the most.")
    return widths


def _option(text: str, option: str, streams: bool) -> tuple[str, Any]:
    """The field that an option sets, and its value."""
    if option == "layer_norm" or (option == "dueling" and streams):
        return option, True
    if option == "noisy":
        return option, SIGMA
    try:
        key, sigma = option.split("=")
        value = float(sigma)
    except ValueError:
        key, value = "", 0.0
    if key != "noisy":
        also = ":dueling" if streams else ""
        raise BadSetting(
            f"The network {quoted(text)} is not of the form name:width,width:activation:layer_norm:noisy{also}, "
            "where noisy may be noisy=0.4."
        )
    return key, value


def recurrent_text(recurrent: Recurrent) -> str:
    """`mlp:64,64:relu+gru:128`: the network, then its memory; `mlp:64:relu+transformer:64:16` with its window too."""
    text = f"{network_text(recurrent.network)}+{recurrent.core}:{recurrent.units}"
    return text + f":{recurrent.window}" * (recurrent.core == "transformer")


def recurrent_from_text(text: str) -> Recurrent:
    """Reads `mlp:64,64:relu+gru:128` or `nature:512:relu:dueling+transformer:64:16`; else raises a `polyak.Error`."""
    network, plus, memory = text.partition("+")
    core, *numbers = memory.split(":")
    try:
        sizes = list(map(whole_number, numbers))
    except ValueError:
        sizes = []
    if not plus or not 1 <= len(sizes) <= 1 + (core == "transformer"):
        raise BadSetting(
            f"The network {quoted(text)} is not of the form network+memory:units, such as mlp:64+gru:128; "
            "a transformer takes the steps that it sees too, as in mlp:64+transformer:64:16."
        )
    return Recurrent(network_from_text(network), core, *sizes)


def any_network_text(network: Network | Recurrent) -> str:
    """With a memory or without."""
    return recurrent_text(network) if isinstance(network, Recurrent) else network_text(network)


def any_network_from_text(text: str) -> Network | Recurrent:
    """With a memory where there is a +, else without; raises a `polyak.Error` for what is neither."""
    return recurrent_from_text(text) if "+" in text else network_from_text(text)
