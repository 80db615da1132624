"""The verbs that deal with checkpoints: convert, list --weights, info --layers."""

import keras
import pytest

import keras_senet
from keras_senet.weights import save_weights


@pytest.fixture
def weights(randomize, tmp_path):
    model = keras_senet.SEResNet20(weights=None, input_shape=(16, 16, 3))
    return save_weights(randomize(model), tmp_path / "mine.weights.h5")


def test_convert(weights, tmp_path, shell):
    target = tmp_path / "target.keras"
    code, out, _ = shell("convert", weights, target)
    assert code == 0
    assert "differ by 0.0e+00" in " ".join(out.split())
    assert target.is_file()
    assert "se_resnet20" in (tmp_path / "target.md").read_text()
    code, _, err = shell("convert", weights, target)
    assert (code, err.count("\n")) == (1, 1)
    assert "must not exist yet" in err


def test_convert_of_another_file(tmp_path, shell):
    (tmp_path / "bad.pth").write_text("no weights")
    code, _, err = shell("convert", tmp_path / "bad.pth", tmp_path / "t.keras")
    assert (code, err.count("\n")) == (1, 1)
    assert [p.name for p in tmp_path.iterdir()] == ["bad.pth"]


def test_list_weights(shell):
    _, out, _ = shell("list", "se_resnet50", "--weights")
    rows = [line.split() for line in out.splitlines() if "se_resnet50." in line]
    assert rows[0] == ["se_resnet50.ra2_in1k", "80.26", "224", "28.1", "4.10",
                       "Apache-2.0"]  # fmt: skip
    accuracies = [float(row[1]) for row in rows if row[1] != "-"]
    assert accuracies == sorted(accuracies, reverse=True)
    assert rows[-1][:2] == ["se_resnet50.keras_in1k_no_top", "-"]


def test_info_layers(shell):
    _, out, _ = shell("info", "se_resnet20", "--layers")
    assert "conv3_block3_se" in out
    assert "274,847" in out


def test_info_of_several_inputs_without_weights(tmp_path, shell):
    inputs = [keras.Input((4,)), keras.Input((4,))]
    network = keras.Model(inputs, [keras.layers.Add()(inputs), inputs[0]])
    network.save(tmp_path / "a.keras")
    assert "4, 4" in shell("info", tmp_path / "a.keras")[1]
    inputs = [keras.Input((4,)), keras.Input((None, 4))]
    x = keras.layers.Add()([inputs[0], keras.layers.GlobalMaxPooling1D()(inputs[1])])
    keras.Model(inputs, x).save(tmp_path / "b.keras")
    code, out, _ = shell("info", tmp_path / "b.keras")
    assert code == 0
    assert "4, any x 4" in out
