"""A SavedModel is opened before anybody trusts it where it only computes."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

import keras_senet
from keras_senet import trust
from keras_senet.cli import main

pytestmark = pytest.mark.faults("a SavedModel that does more than compute")

SPEC = tf.TensorSpec([None, 4, 4, 3], name="images")


def first(images):
    return tf.reduce_mean(images, [1, 2])


def save(folder, function, member=None):
    """A SavedModel whose signature is a function of images."""
    module = tf.Module()
    module.member = member  # so that it is saved, too
    module.f = tf.function(function, input_signature=[SPEC])
    tf.saved_model.save(module, folder, signatures=module.f)
    return folder


class WhenLoaded(tf.lookup.KeyValueTensorInitializer):
    """Fills a table, and does something else before."""

    def __init__(self, act):
        super().__init__(["a"], [1.0])
        self.act = act

    def initialize(self, table):
        with tf.control_dependencies([self.act()]):
            return super().initialize(table)


def write(path):
    return lambda: tf.io.write_file(str(path), "written")


DOES_MORE = {
    "ReadFile": lambda x: first(x) + tf.strings.to_number(tf.io.read_file("/etc/x")),
    "MatchingFiles": lambda x: first(x) + tf.io.matching_files("/*").shape.rank,
    "EagerPyFunc": lambda x: tf.ensure_shape(
        tf.py_function(first, [x], tf.float32), (None, 3)
    ),
    "PrintV2": lambda x: (tf.print(x, output_stream="file:///tmp/x"), first(x))[1],
    "ImmutableConst": lambda x: (
        first(x) + tf.raw_ops.ImmutableConst(
            dtype=tf.float32, shape=(3,), memory_region_name="/etc/passwd"
        )
    ),
    # Hidden in a function that a branch calls, in a loop.
    "WriteFile": lambda x: tf.while_loop(
        lambda i, y: i < 3,
        lambda i, y: (i + 1, tf.cond(y[0, 0] > 9, lambda: act(y), lambda: y)),
        (0, first(x)),
    )[1],
}  # fmt: skip


def act(values):
    with tf.control_dependencies([tf.io.write_file("/tmp/x", "x")]):
        return tf.identity(values)


@pytest.mark.parametrize("operation", DOES_MORE)
def test_what_does_more_than_compute_is_named(operation, tmp_path):
    path = save(tmp_path / "model", DOES_MORE[operation])
    assert trust.foreign_operations(path) == [operation]
    with pytest.raises(ValueError, match=rf"operations: {operation}\. .*trust=True"):
        keras_senet.open_model(path)
    assert keras_senet.open_model(path, trust=True).kind == "saved_model"


def test_an_initialiser_does_not_run(tmp_path, capsys):
    target = tmp_path / "written"
    table = tf.lookup.StaticHashTable(WhenLoaded(write(target)), 0.0)
    path = tmp_path / "model"
    save(path, lambda x: first(x) + table.lookup(tf.constant("a")), table)
    target.unlink()
    assert main(["info", str(path)]) == 1
    assert "WriteFile" in capsys.readouterr().err
    assert not target.exists()
    assert main(["info", str(path), "--trust"]) == 0
    assert target.exists()


@pytest.mark.parametrize("place", ["objects", "old"])
def test_savers_are_let_through_where_nothing_calls_them(place, tmp_path):
    path = save(tmp_path / "model", lambda x: first(x) * v, v := tf.Variable(2.0))
    assert trust.foreign_operations(path) == []
    file = path / "saved_model.pb"
    proto = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    (graph,) = proto.meta_graphs
    if place == "old":
        graph.ClearField("object_graph_def")
    else:
        functions = {f.signature.name: f for f in graph.graph_def.library.function}
        (saver,) = (n for n, f in functions.items() if "SaveV2" in str(f.node_def))
        graph.object_graph_def.concrete_functions[saver].bound_inputs.append(0)
    file.write_bytes(proto.SerializeToString())
    assert "SaveV2" in trust.foreign_operations(path)


def test_a_table_only_computes(tmp_path):
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer([0], [1]), 9)
    path = save(tmp_path / "table", lambda x: table.lookup(tf.constant([0])), table)
    assert trust.foreign_operations(path) == []


@pytest.mark.slow
def test_networks_only_compute(tmp_path):
    layers = keras.layers
    inputs = keras.Input((16, 16, 3))
    x = layers.Resizing(12, 12, antialias=True)(layers.Rescaling(2.0)(inputs))
    x = layers.RandomRotation(0.1)(layers.RandomFlip()(x))
    for name in ("relu6", "gelu", "hard_silu", "selu", "mish", "softsign", "softmax"):
        x = layers.Conv2D(8, 3, padding="same", activation=name)(x)
    x = layers.DepthwiseConv2D(3)(layers.Conv2DTranspose(8, 3)(x))
    x = layers.LayerNormalization()(layers.GroupNormalization(2)(x))
    x = layers.UpSampling2D(interpolation="bilinear")(layers.AveragePooling2D(2)(x))
    x = layers.Reshape((-1, 8))(layers.Dropout(0.5)(x))
    x = layers.GRU(4)(layers.MultiHeadAttention(2, 4)(x, x))
    model = keras.Model(inputs, layers.Dense(3)(x))
    model.export(tmp_path / "keras", verbose=False)
    assert trust.foreign_operations(tmp_path / "keras") == []
    image = np.zeros((1, 16, 16, 3), "float32")
    assert keras_senet.open_model(tmp_path / "keras").predict(image).shape == (1, 3)


def test_the_list_has_nothing_of_files_network_or_python():
    words = "File|Py|Save|Restore|Print|Debug|Send|Recv|Rpc|Reader|Summary|Remote|Xla"
    assert not [name for name in trust._COMPUTE if re.search(words, name)]
    unknown = {name for name in trust._COMPUTE if not hasattr(tf.raw_ops, name)}
    assert unknown <= {"DecodeWebP"}, "TensorFlow 2.18 does not have it yet"


def test_what_is_no_saved_model(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\xff\x00 no message")
    with pytest.raises(ValueError, match="must be a SavedModel"):
        keras_senet.open_model(tmp_path)
