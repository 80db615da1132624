"""`keras-senet info`."""

import dataclasses
import json

from tyro.conf import Positional

import keras_senet
from keras_senet.cli.console import make_console, print_table


@dataclasses.dataclass(frozen=True, kw_only=True)
class Info:
    """Describes a network or a model file: input, parameters, and the cost of SE.

    Attributes:
        layers: Also list the cost of each layer.

    Examples:
        keras-senet info se_resnet50 --layers
        keras-senet info runs/quickstart/export/int8.tflite
    """

    model: Positional[str]
    weights: str | None = None
    layers: bool = False
    trust: bool = False

    def run(self) -> int:
        opened = keras_senet.open_model(
            self.model, self.weights, trained=False, trust=self.trust
        )
        rows = _model_rows(opened) if opened.kind == "keras" else _file_rows(opened)
        if opened.card.labels:
            rows.append(("classes", ", ".join(opened.card.labels)))
        console = make_console()
        print_table(console, opened.name, ("", ""), rows)
        if self.layers:
            costs = keras_senet.complexity(opened.keras_model())
            columns = ("layer", "kind", "output", ">parameters", ">multiply-adds")
            rows = [
                (
                    row.name,
                    row.kind,
                    " x ".join(map(str, row.output_shape)),
                    f"{row.parameters:,}",
                    f"{row.multiply_adds:,}",
                )
                for row in costs.layers
            ]
            print_table(console, "What each layer costs", columns, rows)
        return 0


def _model_rows(opened):
    model, card = opened.keras_model(), opened.card
    rows = [
        ("input", _shape(model.input_shape)),
        ("output", _shape(model.output_shape)),
        ("parameters", f"{model.count_params():,}"),
    ]
    if not any(None in tensor.shape[1:] for tensor in model.inputs):
        costs = keras_senet.complexity(model)
        share = costs.se_parameters / max(costs.parameters, 1)
        rows += [
            ("of which trainable", f"{costs.trainable:,}"),
            ("of which SE", f"{costs.se_parameters:,} ({100 * share:.2f} %)"),
            ("multiply-adds an image", f"{costs.multiply_adds:,}"),
            ("of which SE", f"{costs.se_multiply_adds:,}"),
            ("activations an image", f"{costs.activations:,}"),
            ("SE by (2 / r) sum N C^2", f"{costs.se_formula:,.0f} and biases"),
        ]
    if card.preprocessing is not None:
        fields = dataclasses.asdict(card.preprocessing).items()
        text = ", ".join(f"{name} {value}" for name, value in fields)
        rows.append(("preprocessing", text))
    rows += [
        (f"architecture: {name}", json.dumps(value))
        for name, value in (card.architecture or {}).items()
    ]
    return rows


def _file_rows(opened):
    return [
        ("kind", opened.kind),
        ("input", _shape(opened.input_shape)),
        ("size", f"{opened.size_bytes / 1e6:.2f} MB"),
    ]


def _shape(shapes):
    """A shape without the batch axis, or those of several inputs or outputs."""
    if isinstance(shapes, dict):
        shapes = list(shapes.values())
    if isinstance(shapes, list):
        return ", ".join(map(_shape, shapes))
    return " x ".join("any" if n is None else str(n) for n in shapes[1:])
