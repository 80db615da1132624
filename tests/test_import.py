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
    assert not loaded & {"keras", "tensorflow", "numpy", "h5py", "PIL", "asyncio"}


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


def test_keras_is_whole_after_tensorflow():
    """A lazy Keras would be loaded in the middle of TensorFlow's import, by halves."""
    for file in Path(keras_senet.__file__).parent.rglob("*.py"):
        assert 'lazy_loader.load("keras")' not in file.read_text(), file
    code = "import json, keras_senet.benchmark, tensorflow, keras\n"
    assert _run(f"{code}print(json.dumps(keras.random.__name__))", "tensorflow")


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


WITHOUT = """
import json, sys
sys.modules["tensorflow"] = None  # as where it is not installed
import keras, numpy as np
import keras_senet
from keras_senet.models.se_resnet import SEResNet
form = dict(block="basic", blocks=(1,) * 4, filters=(8,) * 4, stem_filters=(8,))
form.update(weights=None, input_shape=(32, 32, 3), classes=4)
model = SEResNet(reduction=2, **form)
images = np.random.default_rng(0).normal(size=(8, 32, 32, 3)).astype("float32")
def of(network):
    return keras.ops.convert_to_numpy(network(images))
expected = of(model)
path = sys.argv[1]
keras_senet.weights.save_model(model, f"{path}/a.keras")
keras_senet.weights.save_weights(model, f"{path}/a.weights.h5")
again = SEResNet(weights=f"{path}/a.weights.h5", input_shape=(32, 32, 3))
same = [keras_senet.fold(model), keras.saving.load_model(f"{path}/a.keras"), again]
keras_senet.graft(SEResNet(se=False, **form), reduction=2)(images)
differences = [abs(of(m) - expected).max() for m in same]
assert max(differences) < 1e-5, differences
keras_senet.features(model)(images)
keras_senet.complexity(model)
keras_senet.verify(model, f"{path}/a.keras", images, latency_runs=0, strict=True)
said = {}
for name in ("evaluate", "export_saved_model", "data", "training.train"):
    try:
        value = keras_senet
        for part in name.split("."):
            value = getattr(value, part)
    except ImportError as error:
        said[name] = str(error)
import contextlib, io
from keras_senet.cli import main
with contextlib.redirect_stderr(io.StringIO()) as box:
    main(["evaluate", "se_resnet20.fashion_mnist"])
verb = box.getvalue()
try:
    keras_senet.export_tflite(model, f"{path}/a.tflite", quantization="float16")
except ValueError as error:
    said["export_tflite"] = str(error)
print(json.dumps([said, verb]))
"""


@pytest.mark.parametrize(
    "backend", ["jax", pytest.param("torch", marks=pytest.mark.slow)]
)
def test_what_needs_tensorflow_says_so(backend, tmp_path):
    """And networks, weights, surgery and `verify` do without."""
    pytest.importorskip(backend)
    said, verb = _run(WITHOUT, backend, str(tmp_path))
    assert verb.startswith("keras-senet: error: ") and verb.count("\n") == 1
    assert verb.endswith("python -m pip install tensorflow\n")
    tflite = said.pop("export_tflite")
    assert tflite.startswith(
        "Such TFLite files are written on Keras' backend tensorflow"
    )
    assert "\n" not in tflite and tflite.endswith(f"--output {tmp_path / 'a.tflite'}")
    for name, text in said.items():
        name = name.replace("export_", "export.export_")
        line = f"keras_senet.{name} needs TensorFlow: python -m pip install tensorflow"
        assert text.startswith(line) and "\n" not in text
