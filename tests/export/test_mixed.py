"""int8 with operations in other types, as LiteRT's quantiser makes them."""

import sys

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import keras_senet
from keras_senet.export import export_tflite, open_runner
from keras_senet.export.quantize import calibration_images, tensor_values
from keras_senet.export.tflite import Conversion
from keras_senet.tracing import freeze
from keras_senet.utils.flatbuffer import (
    graph_operations,
    open_flatbuffer,
    read_tflite,
    write_flatbuffer,
)

# The parts of an SE that TFLite has: two convolutions, a mean, a sigmoid, a product.
GATE = ("MEAN", "CONV_2D", "CONV_2D", "LOGISTIC", "MUL")


@pytest.fixture
def export(model, images, tmp_path):
    def call(source=model, data=images, **arguments):
        return export_tflite(
            source, tmp_path / "a.tflite", representative_dataset=data, **arguments
        )

    return call


def _kinds(model, names):
    file = open_flatbuffer(Conversion(freeze(model)).float32)
    steps = {step.name: step.kind for step in graph_operations(file)}
    return tuple(steps[name] for name in names)


@pytest.mark.parametrize(
    ("fold", "squeeze", "gate"),
    [
        (True, "avg", "sigmoid"),
        (False, "avg", "sigmoid"),
        (False, "max", "hard_sigmoid"),
        (True, "none", "tanh"),
        (False, "none", "sigmoid"),
    ],
)
def test_gates_are_found_by_their_form(fold, squeeze, gate):
    inputs = keras.Input((8, 8, 4))
    x = keras.layers.Conv2D(8, 3, activation="swish")(inputs)
    x = keras.layers.Conv2D(16, 1)(x)
    x = keras_senet.SqueezeExcite(4, squeeze=squeeze, gate=gate, name="my_se")(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    conversion = Conversion(freeze(model, fold=fold))
    assert all("my_se" in name for name in conversion.gates)
    kinds = _kinds(model, conversion.gates) if fold else None
    if fold and squeeze == "avg" and gate == "sigmoid":
        assert kinds == GATE
    elif fold:
        assert kinds.count("CONV_2D") == 2
        assert kinds[-1] == "MUL"
    # The product of swish is no gate of SE, and its sigmoid is no part of one.
    named = [s for s in conversion.operations if "my_se" in s.name]
    assert len(conversion.gates) == len(named)


@pytest.mark.parametrize(
    ("quantization", "kind"),
    [("int8_float_gates", "float32"), ("int8_int16_gates", "int16")],
)
@pytest.mark.parametrize("io_type", ["float32", "uint8", "int8"])
def test_gates_in_another_type(export, model, images, quantization, kind, io_type):
    path = export(quantization=quantization, io_type=io_type)
    contents = read_tflite(path)
    assert contents.quantization == "int8"
    assert contents.results[kind] == len(GATE)
    assert contents.results["int8"] == len(Conversion(freeze(model)).operations) - len(
        GATE
    )
    interpreter = Interpreter(model_path=str(path))
    for details in (interpreter.get_input_details(), interpreter.get_output_details()):
        assert np.dtype(details[0]["dtype"]) == io_type
    runner = open_runner(path)
    if io_type == "uint8":
        assert runner._input["quantization"] == (1.0, 0)
    expected = model.predict(images, verbose=0)
    np.testing.assert_allclose(runner.predict(images), expected, atol=0.08)
    signature = interpreter.get_signature_list()["serving_default"]
    assert signature == {"inputs": ["images"], "outputs": ["predictions"]}


def test_float_operations_are_chosen_by_name(export, model):
    path = export(quantization="int8", float_operations=["^predictions"])
    results = read_tflite(path).results
    names = [step.name for step in Conversion(freeze(model)).operations]
    chosen = [name for name in names if name.startswith("predictions")]
    assert results == {"int8": len(names) - len(chosen), "float32": len(chosen)}
    path = export(
        quantization="int8_int16_gates", float_operations=["Mean"], overwrite=True
    )
    assert read_tflite(path).results == {
        "int8": len(names) - len(GATE) - 1,
        "int16": len(GATE) - 1,
        "float32": 2,  # the squeeze and the average at the end
    }
    with pytest.raises(ValueError, match=r"'predictoins', which matches none.*Did you"):
        export(quantization="int8", float_operations=["predictoins"], overwrite=True)


def test_a_model_without_gates_has_one_clear_line(export, images):
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(inputs))
    with pytest.raises(ValueError, match=r"a model with SE.*quantization='int8'"):
        export(keras.Model(inputs, x), quantization="int8_float_gates")


@pytest.fixture
def dead(images):
    """A network with an SE whose only squeezed unit is dead."""
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(16, 3, name="conv")(inputs)
    layer = keras_senet.SqueezeExcite(16, name="dead_se")
    x = keras.layers.GlobalAveragePooling2D()(layer(x))
    layer.reduce.bias.assign([-100_000.0])
    layer.expand.bias.assign(np.linspace(-3, 3, 16))
    return keras.Model(inputs, x)


@pytest.mark.parametrize("io_type", ["float32", "uint8"])
def test_a_dead_unit_gets_a_range(export, dead, images, monkeypatch, io_type):
    """Without one XNNPACK frees twice, and the process ends."""
    monkeypatch.setitem(sys.modules, "litert_quantizer", None)
    path = export(dead, quantization="int8", io_type=io_type)
    assert read_tflite(path).dead == ()
    assert set(read_tflite(path).results) == {"int8"}
    expected = dead.predict(images, verbose=0)
    difference = np.abs(open_runner(path).predict(images) - expected)
    assert difference.max() < 0.03 * np.abs(expected).max()


def test_without_the_quantiser(export, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "litert_quantizer", None)
    message = r"other operations needs LiteRT's quantizer.*pip install litert-quantizer"
    with pytest.raises(ValueError, match=message):
        export(quantization="int8_float_gates")
    inputs = keras.Input((16, 16, 3))
    layer = keras.layers.Conv2D(4, 3, activation="relu", name="dead_conv")
    dead = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(layer(inputs)))
    layer.bias.assign([-100_000.0] * 4)
    with pytest.raises(ValueError, match=r"never leave zero.*dead_conv.*pip install"):
        export(dead, quantization="int8")
    assert not list(tmp_path.iterdir())
    export(quantization="int8")
    export(dead, quantization="dynamic", overwrite=True)


def test_what_the_quantiser_cannot_take_is_one_line(export, monkeypatch):
    def fail(*_, **__):
        raise KeyError("strange\nand more")

    monkeypatch.setattr("litert_quantizer.Quantizer.quantize", fail)
    with pytest.raises(ValueError, match=r"LiteRT cannot quantize this model.*strange"):
        export(quantization="int8_float_gates")


def test_constants_are_aligned(export, model):
    """The schema wants 16 bytes; its Python classes do not see to it."""
    for quantization in ("int8_int16_gates", None):
        data = export(quantization=quantization, overwrite=True).read_bytes()
        assert write_flatbuffer(open_flatbuffer(data)) == _without_zip(data)
        arrays = [b.data for b in open_flatbuffer(data).buffers if np.size(b.data) > 32]
        assert len(arrays) > 5
        for array in arrays:
            assert data.index(array.tobytes()) % 16 == 0


def _without_zip(data):
    return data[: data.index(b"PK\x03\x04")]


def test_the_quantiser_is_quiet(export, capfd):
    capfd.readouterr()
    export(quantization="int8_float_gates")
    assert capfd.readouterr() == ("", "")


def test_16_bit_gates_keep_large_biases_of_small_kernels(images):
    """The quantiser cuts biases to 32 bits of a scale that is that of the kernels."""
    inputs = keras.Input((16, 16, 3))
    layer = keras_senet.SqueezeExcite(4, name="my_se")
    x = layer(keras.layers.Conv2D(8, 3, name="conv")(inputs))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    layer.reduce.bias.assign([1e-3, 2e-3])
    for part, factor in ((layer.reduce, 1e-4), (layer.expand, 1e-2)):
        part.kernel.assign(factor * part.kernel)
    layer.expand.bias.assign(np.linspace(-2, 2, 8))
    frozen = freeze(model)
    batches = calibration_images(frozen, images, limit=8)
    conversion = Conversion(frozen, batches)
    files = [conversion.float32, conversion.convert("int8_int16_gates")]
    expected, found = (next(tensor_values(file, batches)) for file in files)
    (name,) = [s.name for s in conversion.operations if "my_se_fc2" in s.name][:1]
    np.testing.assert_allclose(found[name], expected[name], atol=1e-3)
