"""Exports are folded, unless one says otherwise."""

import json

import keras
import numpy as np
import pytest
from conformance import cases

import keras_senet
from keras_senet.export import open_runner
from keras_senet.utils.flatbuffer import graph_operations, open_flatbuffer


@pytest.fixture(autouse=True)
def _clear():
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)


def sizes(model, folder):
    """Bytes of a folded .tflite file and of one that is not."""
    for fold in (True, False):
        path = folder / f"{fold}.tflite"
        keras_senet.export_tflite(model, path, fold=fold)
        yield path.stat().st_size


@pytest.mark.parametrize("name", cases.SOME)
def test_folded_file_is_never_larger(name, randomize, tmp_path):
    folded, plain = sizes(randomize(cases.build(name)), tmp_path)
    if name in ("resnet_bottleneck", "shufflenet"):
        assert folded < plain  # a smaller matrix in each SE
    else:
        assert folded <= plain


def test_files_of_a_plain_host_call_the_same_operations_the_same(randomize, tmp_path):
    folded, plain = sizes(randomize(cases.build("resnet_basic", se=False)), tmp_path)
    assert folded <= plain
    names, others = (
        [step.name for step in graph_operations(open_flatbuffer(path))]
        for path in (tmp_path / "True.tflite", tmp_path / "False.tflite")
    )
    assert names == others
    assert "conv2_block1_2_conv_1" in names
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("fold", [True, False])
def test_files_say_what_the_model_was(fold, randomize, images, tmp_path):
    model = randomize(cases.build("resnet_bottleneck"))
    x = images(2, *model.input_shape[1:])
    paths = [tmp_path / "saved", tmp_path / "m.tflite"]
    keras_senet.export_saved_model(model, paths[0], fold=fold)
    keras_senet.export_tflite(model, paths[1], fold=fold)
    for path in paths:
        outputs = open_runner(path).predict(x)
        assert np.max(np.abs(outputs - np.asarray(model(x)))) < 1e-5
    graph = (paths[0] / "saved_model.pb").read_bytes()
    assert (b"conv2_block1_se_fc1" in graph) is fold
    assert (b"conv2_block1_se_fc1" in paths[1].read_bytes()) is fold
    header = json.loads((paths[0] / "assets.extra" / "keras_senet.json").read_text())
    assert header["architecture"]["reduction"] == 4
