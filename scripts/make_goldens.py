"""Writes tests/goldens: the weights' names and shapes, and the costs, of every network.

And keras_senet/utils/networks.json, what `keras-senet list` shows of them.

    python scripts/make_goldens.py [NAME ...]

Run it after a deliberate change of a network, look at the difference, and say in the
commit why files written before still load. See tests/goldens/README.md.
"""

import json
import sys
from pathlib import Path

import keras

import keras_senet
from keras_senet.models import CONSTRUCTORS
from keras_senet.utils.files import atomic_path

ROOT = Path(__file__).parents[1]
GOLDENS = ROOT / "tests" / "goldens"
TABLE = ROOT / "keras_senet" / "utils" / "networks.json"


def golden(name: str) -> dict:
    """What is frozen of a network in its default form."""
    costs = {}
    for key, se in (("with_se", True), ("plain", False)):
        keras.utils.clear_session(free_memory=True)
        model = CONSTRUCTORS[name](weights=None, se=se)
        counted = keras_senet.complexity(model)
        costs[key] = {
            "parameters": counted.parameters,
            "trainable": counted.trainable,
            "multiply_adds": counted.multiply_adds,
        }
        if se:
            weights = {v.path: list(v.shape) for v in model.weights}
            shape = list(model.input_shape[1:])
    return {
        "constructor": CONSTRUCTORS[name].__name__,
        "input_shape": shape,
        **costs,
        "weights": weights,
    }


def table() -> str:
    """What the package itself knows of the networks, as JSON text."""
    rows = {}
    for name in keras_senet.list_models():
        frozen = json.loads((GOLDENS / f"{name}.json").read_text())
        rows[name] = {
            "constructor": frozen["constructor"],
            "input_shape": frozen["input_shape"],
            "classes": list(frozen["weights"].values())[-1][0],
            "parameters": frozen["with_se"]["parameters"],
            "multiply_adds": frozen["with_se"]["multiply_adds"],
        }
    return json.dumps(rows, indent=1) + "\n"


def main(names: list[str]) -> None:
    for name in names or keras_senet.list_models():
        text = json.dumps(golden(name), separators=(",", ":"))
        text = text.replace('],"', '],\n"').replace(',"weights":{', ',\n"weights":{\n')
        _write(GOLDENS / f"{name}.json", text + "\n")
        print(name)
    _write(TABLE, table())


def _write(path: Path, text: str) -> None:
    with atomic_path(path, overwrite=True) as file:
        file.write_text(text, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
