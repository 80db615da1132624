"""`keras-senet list`."""

import dataclasses
from collections.abc import Sequence

import keras
from tyro.conf import Positional

from keras_senet.cli.command import parse_arguments
from keras_senet.cli.console import make_console, print_table
from keras_senet.models import create_model, list_models
from keras_senet.utils.errors import nearest
from keras_senet.weights import find_preset, list_weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class List:
    """Lists the networks with their input and parameters.

    Attributes:
        pattern: Only networks whose name fits this shell pattern, "se_res*".
        weights: List the published checkpoints of these networks instead.
    """

    pattern: Positional[str] = "*"
    weights: bool = False

    def run(self) -> int:
        names = list_models(self.pattern)
        if not names:
            raise ValueError(
                f"No network fits the pattern {self.pattern!r}."
                f"{nearest(self.pattern, list_models())}"
            )
        console = make_console()
        if self.weights:
            presets = [preset for name in names for preset in list_weights(name)]
            columns = ("preset", ">top-1, %", ">size", "layout", "licence", "publisher")
            rows = [_preset_row(preset) for preset in presets]
            print_table(console, "Checkpoints, as their publishers say", columns, rows)
            return 0
        with console.status("counting parameters") as status:
            rows = []
            for name in names:
                status.update(f"counting the parameters of {name}")
                rows.append(_row(name))
        columns = ("network", ">input", ">classes", ">parameters", "weights")
        title = "Networks; the parameters include the statistics of normalisation"
        print_table(console, title, columns, rows)
        return 0


def _row(name):
    # Only shapes are wanted: nothing is initialised.
    with keras.StatelessScope(initialize_variables=False):
        model = create_model(name, weights=None)
    height, width, channels = model.input_shape[1:]
    return (
        name,
        f"{height} x {width} x {channels}",
        str(model.output_shape[-1]),
        f"{model.count_params():,}",
        ", ".join(w.removeprefix(f"{name}.") for w in list_weights(name)) or "-",
    )


def _preset_row(name):
    preset = find_preset(name)
    if preset is None:
        return (name, "", "", "the host's, SE untrained", "", "keras.applications")
    top1 = "" if preset.accuracy is None else f"{preset.accuracy.top1:.2f}"
    return (
        preset.name,
        top1,
        str(preset.card.preprocessing.image_size),
        (preset.refusal and "refused") or preset.layout,
        preset.card.licence,
        preset.source,
    )


def parse(arguments: Sequence[str]) -> List | None:
    """Reads the words after the verb."""
    return parse_arguments(List, "list", arguments)
