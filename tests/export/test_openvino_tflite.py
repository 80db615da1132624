"""OpenVINO reads .tflite files of every kind: there names tie operations together."""

import numpy as np
import pytest

from keras_senet.export import open_runner
from keras_senet.export.tflite import INT8_TYPES, QUANTIZATIONS, Conversion, is_int8
from keras_senet.runners import dequantize, quantize
from keras_senet.tracing import freeze
from keras_senet.utils.flatbuffer import open_flatbuffer

KINDS = [
    (quantization, io_type)
    for quantization in QUANTIZATIONS
    for io_type in (INT8_TYPES if is_int8(quantization) else ["float32"])
]


@pytest.fixture(scope="module")
def conversion(model, images):
    return Conversion(freeze(model), [image[None] for image in images])


@pytest.fixture(params=KINDS, ids=str)
def file(request, conversion, tmp_path):
    path = tmp_path / "a.tflite"
    conversion.write(conversion.convert(*request.param), path)
    return path


def test_names_and_numbers(file, images):
    """In float32: OpenVINO's int8 overflows on old CPUs, new ones take bfloat16."""
    model = open_flatbuffer(file)
    for graph in model.subgraphs:
        names = [tensor.name for tensor in graph.tensors]
        assert all(names)
        assert len(set(names)) == len(names)
    core = pytest.importorskip("openvino").Core()
    options = {"LP_TRANSFORMS_MODE": "NO", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(file), "CPU", options)
    runner = open_runner(file)
    (output,) = runner._outputs.values()
    for image in images[:, None]:
        found = dequantize(compiled(quantize(image, runner._input))[0], output)
        np.testing.assert_allclose(found, runner.predict(image), atol=0.02)
