"""`keras-senet list`."""

import dataclasses

from tyro.conf import Positional

from keras_senet.cli.console import make_console, print_table
from keras_senet.utils.errors import nearest
from keras_senet.utils.networks import known_networks, matching_networks
from keras_senet.weights.catalogue import by_accuracy, find_preset, list_weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class List:
    """Lists the networks with their input and parameters.

    Attributes:
        pattern: Only networks whose name matches this shell pattern, such as "se_res*".
        weights: List the published checkpoints of these networks instead, the most
            accurate first.

    Examples:
        keras-senet list "se_resnet*"
        keras-senet list --weights
    """

    pattern: Positional[str] = "*"
    weights: bool = False

    def run(self) -> int:
        networks = known_networks()
        names = matching_networks(self.pattern)
        if not names:
            raise ValueError(
                f"No network matches the pattern {self.pattern!r}."
                f"{nearest(self.pattern, networks)}"
            )
        console = make_console()
        if self.weights:
            _print_weights(console, names)
            return 0
        rows = [_row(name, networks[name]) for name in names]
        columns = ("network", ">input", ">parameters")
        columns += (">multiply-adds", ">checkpoints")
        title = "Networks; the parameters include the statistics of normalisation"
        print_table(console, title, columns, rows)
        return 0


def _row(name, network):
    height, width, channels = network["input_shape"]
    return (
        name,
        f"{height} x {width} x {channels}",
        f"{network['parameters']:,}",
        f"{network['multiply_adds'] / 1e6:,.0f} M",
        str(len(list_weights(name)) or "-"),
    )


def _print_weights(console, names):
    presets = [find_preset(weights) for name in names for weights in list_weights(name)]
    if not presets:
        raise ValueError(
            f"There must be published checkpoints. Received: {', '.join(names)}, which "
            "have none. `keras-senet list` shows which networks have some."
        )
    columns = ("preset", ">top-1, %", ">size")
    columns += (">parameters, M", ">multiply-adds, G", "licence")
    rows = [
        (
            preset.name,
            f"{preset.accuracy.top1:.2f}" if preset.accuracy else "-",
            str(preset.card.preprocessing.image_size),
            f"{preset.parameters / 1e6:.1f}",
            f"{preset.multiply_adds / 1e9:.2f}",
            preset.card.licence,
        )
        for preset in by_accuracy(presets)
    ]
    title = "Checkpoints, as their publishers say; multiply-adds are at that size"
    print_table(console, title, columns, rows)
