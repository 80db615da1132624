import json
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

import keras_senet
from keras_senet.card import FORMAT, Card
from keras_senet.export import (
    export_onnx,
    export_openvino,
    export_saved_model,
    export_tflite,
    open_runner,
)

# Keras 3.15.1 reads its variables in a way that NumPy 2.4 deprecates.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning",
    # tf2onnx 1.17 looks for a name that NumPy has not.
    "ignore:In the future `np.object`",
)


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    model.save(folder / "model.keras")
    export_saved_model(model, folder / "served")
    export_tflite(model, folder / "model.tflite")
    return folder


KINDS = {"model.keras": "keras", "served": "saved_model", "model.tflite": "tflite"}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_runs_the_same_way(files, model, images, name):
    runner = open_runner(files / name, threads=np.int64(2))
    assert runner.kind == KINDS[name]
    assert runner.input_shape == (None, 16, 16, 3)
    assert runner.labels is None
    paths = [files / name, *(files / name).rglob("*")]
    sizes = [path.stat().st_size for path in paths if path.is_file()]
    assert runner.size_bytes == sum(sizes) > 0
    expected = model.predict(images, verbose=0)
    scores = runner.predict(images, batch_size=5)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_model_in_memory(model, images):
    runner = open_runner(model)
    assert runner.kind == "keras"
    assert runner.size_bytes == 4 * model.count_params()
    expected = model.predict(images, verbose=0)
    np.testing.assert_allclose(runner.predict(images), expected, atol=1e-6)
    assert open_runner(runner) is runner


def test_a_sequential_model_that_was_never_called(sequential, images, tmp_path):
    sequential.save(tmp_path / "a.keras")
    runners = [open_runner(sequential), open_runner(tmp_path / "a.keras")]
    expected = sequential.predict(images, verbose=0)
    for runner in runners:
        np.testing.assert_allclose(runner.predict(images), expected, atol=1e-6)


def test_training_after_opening_is_seen(make_model, images):
    model = make_model()
    runner = open_runner(model)
    before = runner.predict(images)
    model.layers[-1].bias.assign_add(np.arange(7.0))
    assert np.abs(runner.predict(images) - before).max() > 0.01


def test_integer_images_are_taken(files, model, images):
    bytes_ = images.astype("uint8")
    expected = model.predict(bytes_.astype("float32"), verbose=0)
    for name in KINDS:
        scores = open_runner(files / name).predict(bytes_)
        np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_batches_of_a_fixed_size_are_filled(make_model, images):
    model = make_model(batch_size=5)
    scores = open_runner(model).predict(images)
    expected = make_model().predict(images, verbose=0)
    np.testing.assert_allclose(scores, expected, atol=1e-6)


@pytest.mark.parametrize("name", [*KINDS, "model.onnx", "model.xml"])
def test_threads_share_a_runner(files, images, name):
    """With batches of several sizes, from the very first call on."""
    if name == "model.onnx":
        pytest.importorskip("tf2onnx")
        export_onnx(keras.saving.load_model(files / "model.keras"), files / name)
    if name == "model.xml":
        pytest.importorskip("openvino")
        export_openvino(keras.saving.load_model(files / "model.keras"), files / name)
    parts = [images[i : i + 1 + i % 3] for i in range(10)] * 8
    runner = open_runner(files / name)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(runner.predict, parts))
    alone = open_runner(files / name)
    for part, scores in zip(parts, found, strict=True):
        np.testing.assert_allclose(scores, alone.predict(part), atol=1e-6)


def test_several_outputs_come_by_name_in_the_models_order(model, images, tmp_path):
    z, a = (
        keras.layers.Lambda(lambda x, k=k: x + k, name=n)
        for k, n in ((1, "z"), (2, "a"))
    )
    both = keras.Model(model.input, [z(model.output), a(model.output)])
    scores = model.predict(images, verbose=0)
    export_saved_model(both, tmp_path / "served")
    export_tflite(both, tmp_path / "both.tflite")
    assert list(open_runner(both).predict(images)) == ["z", "a"]
    for source in (both, tmp_path / "served", tmp_path / "both.tflite"):
        outputs = open_runner(source).predict(images)
        np.testing.assert_allclose(outputs["z"], scores + 1, atol=1e-5)
        np.testing.assert_allclose(outputs["a"], scores + 2, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((0, 16, 16, 3), "at least one image"),
        ((2, 8, 16, 3), r"\(None, 16, 16, 3\).*\(2, 8, 16, 3\)"),
        ((2, 16, 16, 1), r"\(2, 16, 16, 1\)"),
        ((16, 16, 3), r"\(16, 16, 3\)"),
    ],
)
def test_images_that_do_not_fit(files, shape, message):
    for name in KINDS:
        with pytest.raises(ValueError, match=message):
            open_runner(files / name).predict(np.zeros(shape))


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, None])
def test_batch_size_is_a_positive_integer(model, images, batch_size):
    message = rf"`batch_size` must be a positive integer\..*={batch_size}"
    with pytest.raises(ValueError, match=message):
        open_runner(model).predict(images, batch_size=batch_size)


def _set_format(folder, number):
    path = folder / "served" / "assets.extra" / "keras_senet.json"
    header = json.loads(path.read_text()) | {"format": number}
    path.write_text(json.dumps(header))
    with zipfile.ZipFile(folder / "model.keras", "a") as archive:
        archive.writestr("keras_senet.json", json.dumps(header))
    (folder / "plain.tflite").rename(folder / "model.tflite")
    with zipfile.ZipFile(folder / "model.tflite", "a") as archive:
        archive.writestr("keras_senet.json", json.dumps(header))


@pytest.mark.parametrize("name", KINDS)
def test_a_header_of_a_later_format_is_refused(files, tmp_path, name):
    """In the words of the reader of checkpoints."""
    copy = tmp_path / "copy"
    shutil.copytree(files, copy)
    data = (copy / "model.tflite").read_bytes()
    with zipfile.ZipFile(copy / "model.tflite") as archive:
        length = min(info.header_offset for info in archive.infolist())
    (copy / "plain.tflite").write_bytes(data[:length])
    _set_format(copy, FORMAT + 1)
    with pytest.raises(ValueError, match="Upgrade keras-senet") as error:
        open_runner(copy / name)
    text = json.dumps({"format": FORMAT + 1, "version": keras_senet.__version__})
    with pytest.raises(ValueError, match="Upgrade keras-senet") as same:
        Card.parse(text, copy / name)
    assert str(error.value) == str(same.value)


@pytest.mark.parametrize(
    "name", ["model.keras", "model.tflite", "served/saved_model.pb"]
)
@pytest.mark.parametrize("kept", [0, 6, 0.3, 0.9, -1])
def test_damaged_file_is_one_line(files, tmp_path, name, kept):
    copy = tmp_path / "copy"
    shutil.copytree(files, copy)
    data = (copy / name).read_bytes()
    length = int(kept * len(data)) if isinstance(kept, float) else kept
    (copy / name).write_bytes(data[:length])
    path = copy / "served" if name.startswith("served") else copy / name
    with pytest.raises(ValueError, match=r"(damaged|truncated)[^\n]*$"):
        open_runner(path)


def test_other_things_are_told_apart(files, tmp_path, monkeypatch):
    text = tmp_path / "text.tflite"
    text.write_text("not a model, only a text file that is long enough")
    with pytest.raises(ValueError, match=r"mark 'TFL3'.*text\.tflite"):
        open_runner(text)
    with pytest.raises(ValueError, match="which is none of these"):
        open_runner(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.tflite.*does not exist"):
        open_runner(tmp_path / "nowhere.tflite")
    with pytest.raises(ValueError, match=r"create_model\(name, weights=path\)"):
        (tmp_path / "a.weights.h5").touch()
        open_runner(tmp_path / "a.weights.h5")
    with pytest.raises(ValueError, match=r"\.onnx or \.xml file\. Received: .*a\.pt"):
        (tmp_path / "a.pt").touch()
        open_runner(tmp_path / "a.pt")
    monkeypatch.chdir(tmp_path)
    for name in ("se_resnet20", "se_resnet20.cifar10"):
        (tmp_path / name).mkdir()
        with pytest.raises(ValueError, match="hides the network of that name"):
            open_runner(name)
    with pytest.raises(ValueError, match=r"Received: 3 \(of type int\)"):
        open_runner(3)
    with pytest.raises(ValueError, match="Received: weights=True"):
        open_runner("se_resnet20", weights=True)
    with pytest.raises(ValueError, match="none of these"):
        (tmp_path / "folder.tflite").mkdir()
        open_runner(tmp_path / "folder.tflite")
    with pytest.raises(ValueError, match=r"a path has its own.*a\.pt"):
        open_runner(str(tmp_path / "a.pt"), weights="imagenet")


def test_what_a_file_has_is_not_given_again(files, model):
    with pytest.raises(ValueError, match="`image_size` is for a network that is built"):
        open_runner(files / "model.tflite", image_size=64)
    assert open_runner(files / "model.tflite", image_size=16).input_shape[1] == 16
    for opened in (model, open_runner(model)):
        with pytest.raises(ValueError, match="`weights` are for the name"):
            open_runner(opened, weights="imagenet")
        for options in ({"image_size": 64}, {"precision": "bfloat16"}):
            with pytest.raises(ValueError, match=f"`{next(iter(options))}` "):
                open_runner(opened, **options)
    with pytest.raises(ValueError, match="threads=0"):
        open_runner(files / "model.tflite", threads=0)


def test_saved_model_without_its_variables_folder(files, tmp_path):
    shutil.copytree(files / "served", tmp_path / "served")
    shutil.rmtree(tmp_path / "served" / "variables")
    with pytest.raises(ValueError, match="must be a SavedModel"):
        open_runner(tmp_path / "served")


def test_a_size_that_does_not_fit_leaves_the_others(tmp_path):
    inputs = keras.Input((None, None, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 5)(inputs))
    network = keras.Model(inputs, keras.layers.Dense(2)(x))
    path = keras_senet.export_tflite(network, tmp_path / "a.tflite")
    runner = open_runner(path)
    good, bad = (np.ones((1, n, n, 3), "float32") for n in (8, 2))
    expected = runner.predict(good)
    with pytest.raises(ValueError, match=r"images of shape \(1, 2, 2, 3\)"):
        runner.predict(bad)
    np.testing.assert_array_equal(runner.predict(good), expected)


def _noise(count):
    return np.random.default_rng(count).normal(size=(count, 8, 8, 3)).astype("float32")


def test_mixed_precision_keeps_an_adapted_normalization(tmp_path):
    layer = keras.layers.Normalization()
    layer.adapt(5 + 3 * _noise(32))
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, dtype="mixed_float16")(layer(inputs))
    network = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    keras_senet.export_saved_model(network, tmp_path / "a")
    x = 5 + 3 * _noise(4)
    found = open_runner(tmp_path / "a").predict(x)
    np.testing.assert_allclose(found, network.predict(x, verbose=0), atol=0.01)


class Forgetful(keras.layers.Dense):
    """Its `get_config` leaves out an argument that the copy needs."""

    def __init__(self, units=3, **kwargs):
        super().__init__(units, **kwargs)

    def get_config(self):
        config = super().get_config()
        del config["units"]
        return config


def test_what_cannot_be_copied_is_exported_unfolded(tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(inputs))
    network = keras.Model(inputs, Forgetful(5)(x))
    keras_senet.export_saved_model(network, tmp_path / "a")
    x = _noise(4)
    found = open_runner(tmp_path / "a").predict(x)
    np.testing.assert_allclose(found, network.predict(x, verbose=0), atol=1e-5)


def test_the_size_of_a_file_with_channels_first(tmp_path):
    inputs = keras.Input((3, None, None))
    x = keras.layers.Conv2D(4, 3, data_format="channels_first")(inputs)
    x = keras.layers.GlobalAveragePooling2D("channels_first")(x)
    network = keras.Model(inputs, keras.layers.Dense(2)(x))
    keras_senet.export_saved_model(network, tmp_path / "a", image_size=(8, 16))
    assert open_runner(tmp_path / "a").input_shape == (None, 3, 8, 16)
