"""What `import keras_senet` loads, and what is there after it."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import keras_senet

STUB = Path(keras_senet.__file__).with_suffix(".pyi")
ROOMS = {
    alias.name
    for node in ast.parse(STUB.read_text()).body
    if isinstance(node, ast.ImportFrom) and node.module is None
    for alias in node.names
}


def _run(code, backend, *arguments):
    """What a fresh interpreter prints last, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def _loaded_by(statement, backend, before="pass"):
    """The packages that a statement loads, beside those that are there before it."""
    code = f"""
import json, sys
{before}
there = set(sys.modules)
{statement}
print(json.dumps(sorted(set(sys.modules) - there)))
"""
    return {name.split(".")[0] for name in _run(code, backend)}


def test_the_package_alone_imports_no_framework():
    loaded = _loaded_by("import keras_senet", "tensorflow")
    assert not loaded & {"keras", "tensorflow", "numpy", "h5py", "PIL"}


def test_the_package_costs_little_beside_keras():
    """Counted in modules, on NumPy, where Keras itself is lightest."""
    code = "import json, sys\nimport {}\nprint(json.dumps(len(sys.modules)))"
    keras_alone, both = (
        _run(code.format(names), "numpy") for names in ("keras", "keras_senet, keras")
    )
    assert both <= 1.05 * keras_alone


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_the_networks_are_light(backend):
    """They load little beside Keras, and TensorFlow on its own backend only."""
    pytest.importorskip(backend)
    code = "import keras_senet\nkeras_senet.SEResNet50"
    loaded = _loaded_by(code, backend, before="import keras")
    assert "keras_senet" in loaded
    heavy = {"tensorflow_datasets", "ai_edge_litert", "matplotlib", "rich", "tyro"}
    assert not loaded & (heavy | {"PIL", "torch", "safetensors", "tensorflow"})


LOAD = """
import json, sys
{imports}
model = keras.saving.load_model(sys.argv[1])
print(json.dumps([type(layer).__name__ for layer in model.layers]))
"""


@pytest.mark.parametrize(
    "imports",
    ["import keras_senet\nimport keras", "import keras\nimport keras_senet"],
    ids=["before", "after"],
)
def test_keras_loads_our_layers_in_both_orders(imports, tmp_path):
    path = str(tmp_path / "model.keras")
    layers = [keras.Input((4, 4, 6)), keras_senet.SqueezeExcite(2)]
    layers.append(keras_senet.layers.ChannelShuffle(3))
    keras.Sequential(layers).save(path)
    # On NumPy, because that is the fastest to import.
    found = _run(LOAD.format(imports=imports), "numpy", path)
    assert found == ["SqueezeExcite", "ChannelShuffle"]


def test_rooms_are_attributes_at_once():
    """Each by itself, as in a fresh interpreter: there only `keras_senet` is new."""
    assert {"training", "export", "data", "hub", "evaluation", "surgery"} <= ROOMS
    code = """
import json, sys
names = {}
for room in sys.argv[1:]:
    for name in [n for n in sys.modules if n.split(".")[0] == "keras_senet"]:
        del sys.modules[name]
    import keras_senet
    names[room] = getattr(keras_senet, room).__name__
print(json.dumps(names))
"""
    found = _run(code, "tensorflow", *sorted(ROOMS))
    assert found == {room: f"keras_senet.{room}" for room in ROOMS}


def test_public_names():
    assert {"SEResNet50", "SqueezeExcite", "fold", "verify"} <= set(keras_senet.__all__)
    for name in keras_senet.__all__:
        assert getattr(keras_senet, name) is not None
        assert name in dir(keras_senet)
    with pytest.raises(AttributeError, match="attribute SEResNet51"):
        keras_senet.SEResNet51  # noqa: B018
