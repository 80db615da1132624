"""The signatures that name classes, and those that take image files."""

import importlib.metadata
import io
import json
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf
from export import encoded
from PIL import Image

from keras_senet.data import read_image
from keras_senet.data.augmentation import resize_and_crop
from keras_senet.export import (
    decoding,
    export_saved_model,
    export_tflite,
    open_runner,
    saved_model,
    verify,
)
from keras_senet.preprocessing import preprocess_input
from keras_senet.weights import Preprocessing

SIZE = 8
RECORD = Preprocessing(image_size=SIZE, crop_fraction=0.7, interpolation="bicubic")

FRESH_PROCESS = """
import sys

sys.modules["keras"] = sys.modules["keras_senet"] = None
import numpy as np
import tensorflow as tf

folder, images, target, *files = sys.argv[1:]
signatures = tf.saved_model.load(folder).signatures
files = tf.stack([tf.io.read_file(file) for file in files])
found = signatures["classify_bytes"](image_bytes=files)
found |= signatures["serving_default"](images=tf.constant(np.load(images)))
np.savez(target, **{name: value.numpy() for name, value in found.items()})
"""


def _signature(folder, name="classify_bytes"):
    return tf.saved_model.load(str(folder)).signatures[name]


def _mirror(channels=3, raw=True):
    """A model whose scores are its input's values, so that its input can be read."""
    inputs = keras.Input((SIZE, SIZE, channels))
    x = keras.layers.Rescaling(1 / 255)(inputs) if raw else inputs
    return keras.Model(inputs, keras.layers.Flatten()(x))


def _export_mirror(path, **options):
    channels = options.pop("channels", 3)
    model = _mirror(channels, options.pop("raw", True))
    options = {"preprocessing": RECORD, "top": 1000} | options
    return _Mirrored(export_saved_model(model, path, **options), channels)


class _Mirrored:
    """Returns the images that a mirror's `classify_bytes` makes of files."""

    def __init__(self, folder, channels):
        self.signature = _signature(folder)
        self.channels = channels

    def __call__(self, *contents):
        found = self.signature(image_bytes=tf.constant(contents, tf.string))
        scores, indices = found["scores"].numpy(), found["indices"].numpy()
        values = np.empty_like(scores)
        np.put_along_axis(values, indices, scores, axis=1)
        return values.reshape(len(contents), SIZE, SIZE, self.channels)


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    return _export_mirror(tmp_path_factory.mktemp("mirror") / "served")


def _evaluated(content, tmp_path, channels=3):
    """What the data room's evaluation makes of the same file."""
    (tmp_path / "image").write_bytes(content)
    image = read_image(tmp_path / "image", channels=channels)
    return resize_and_crop(
        tf.constant(image), (SIZE, SIZE), crop_fraction=0.7, interpolation="bicubic"
    )


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
@pytest.mark.parametrize("shape", [(30, 37), (61, 23), (11, 11), (3, 5)])
def test_pixels_are_those_of_the_evaluation(mirror, tmp_path, shape):
    files = encoded.files(*shape)
    if not decoding.READS_WEBP:
        files = {n: content for n, content in files.items() if "webp" not in n}
    found = mirror(*files.values())
    for name, content, image in zip(files, files.values(), found, strict=True):
        expected = _evaluated(content, tmp_path)
        np.testing.assert_allclose(255 * image, expected, atol=1e-3, err_msg=name)
    assert found.std() > 0.1


def test_grey_networks_get_grey(tmp_path):
    mirror = _export_mirror(tmp_path / "served", channels=1)
    files = encoded.files()
    for name in ("png grey", "jpeg grey", "bmp grey", "png rgb", "jpeg rgb"):
        grey = _evaluated(files[name], tmp_path, channels=1)
        np.testing.assert_allclose(255 * mirror(files[name])[0], grey, atol=1e-3)


def test_normalisation_is_added_where_the_model_has_none(tmp_path):
    record = Preprocessing(image_size=SIZE, channel_order="BGR", crop_fraction=0.7)
    mirror = _export_mirror(tmp_path / "a", raw=False, preprocessing=record)
    content = encoded.files()["png rgb"]
    raw = _evaluated(content, tmp_path)
    expected = preprocess_input(raw, "channels_last", preset=record)
    np.testing.assert_allclose(mirror(content)[0], expected, atol=1e-5)


def test_means_in_pixels_are_subtracted_once(tmp_path):
    """As in the networks that Caffe's publishers trained: no division by 255."""
    mean = np.array([124.0, 117.0, 104.0])
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Rescaling([1.0, 1.0, 1.0], list(-mean))(inputs)
    model = keras.Model(inputs, keras.layers.Flatten()(x))
    path = export_saved_model(model, tmp_path / "a", preprocessing=RECORD, top=1000)
    content = encoded.files()["png rgb"]
    expected = np.sort((_evaluated(content, tmp_path) - mean).numpy().ravel())[::-1]
    found = _signature(path)(image_bytes=tf.constant([content]))["scores"]
    np.testing.assert_allclose(found[0], expected, atol=1e-3)


def test_classes_scores_and_indices_are_sorted(served, class_names, model, images):
    scores = model.predict(images, verbose=0)
    best = np.argsort(-scores, axis=1)[:, :3]
    found = _signature(served, "classify")(images=tf.constant(images))
    np.testing.assert_array_equal(found["indices"], best)
    np.testing.assert_allclose(
        found["scores"], np.take_along_axis(scores, best, 1), atol=1e-5
    )
    names = [[name.decode() for name in row] for row in found["classes"].numpy()]
    assert names == [[class_names[i] for i in row] for row in best]


def test_without_labels_classes_are_numbers(images, tmp_path):
    path = export_saved_model(_mirror(raw=False), tmp_path / "served")
    found = _signature(path, "classify")(images=tf.constant(images[:, :SIZE, :SIZE]))
    assert found["classes"].shape == (12, 5)
    numbers = found["indices"].numpy().astype("str").astype("object")
    np.testing.assert_array_equal(found["classes"].numpy().astype("str"), numbers)


def _write_pngs(images, folder):
    paths = [folder / f"{i}.png" for i in range(len(images))]
    for path, image in zip(paths, images.round().astype("uint8"), strict=True):
        Image.fromarray(image).save(path)
    return paths


def test_a_fresh_process_without_keras_names_the_classes(
    served, class_names, model, images, tmp_path
):
    paths = _write_pngs(images, tmp_path)
    np.save(tmp_path / "images.npy", images)
    (tmp_path / "fresh.py").write_text(textwrap.dedent(FRESH_PROCESS))
    arguments = [sys.executable, "fresh.py", served, "images.npy", "found.npz", *paths]
    subprocess.run(arguments, check=True, cwd=tmp_path)
    found = np.load(tmp_path / "found.npz", allow_pickle=True)
    scores = model.predict(images, verbose=0)
    np.testing.assert_allclose(found["predictions"], scores, atol=1e-5)
    scores = model.predict(images.round(), verbose=0)
    np.testing.assert_allclose(found["scores"][:, 0], scores.max(-1), atol=1e-5)
    names = [name.decode() for name in found["classes"][:, 0]]
    assert names == [class_names[i] for i in scores.argmax(-1)]


def test_saved_model_cli_runs_it(served, model, images, tmp_path, monkeypatch):
    """In this process: another one would spend seconds on importing TensorFlow."""
    (path,) = _write_pngs(images[:1], tmp_path)
    np.save(tmp_path / "input.npy", np.array([path.read_bytes()]))
    (program,) = importlib.metadata.entry_points(name="saved_model_cli")
    words = ["saved_model_cli", "run", "--dir", served, "--tag_set", "serve"]
    words += ["--signature_def", "classify_bytes", "--outdir", tmp_path / "out"]
    words += ["--inputs", f"image_bytes={tmp_path / 'input.npy'}"]
    monkeypatch.setattr(sys, "argv", [str(word) for word in words])
    with pytest.raises(SystemExit) as done:
        program.load()()
    assert not done.value.code
    scores = np.load(tmp_path / "out" / "scores.npy")
    expected = model.predict(images[:1].round(), verbose=0).max()
    np.testing.assert_allclose(scores[0, 0], expected, atol=1e-5)


BAD = {
    "empty": (b"", "is empty"),
    "text": (b"hello, this is a text", "is not a JPEG, PNG, GIF, BMP or WebP image"),
    "tiff": (b"II*\0" + bytes(50), "is not a JPEG"),
    "webp animated": (encoded.animated_webp(), "is an animated WebP"),
    "bmp rle": (
        encoded.files()["bmp palette"][:30]
        + b"\1\0\0\0"
        + encoded.files()["bmp palette"][34:],
        "is a BMP that is not supported",
    ),
    "jpeg of many scans": (
        encoded.files()["jpeg rgb"][:-2] + b"\xff\xda" * 200,
        "is a JPEG of more than 100 scans",
    ),
}
for _name, _content in encoded.claiming(60_000, 60_000).items():
    BAD[f"{_name} bomb"] = (_content, "has 60000 x 60000 pixels, more than 50,000,000")
for _name, _content in encoded.claiming(5, 501).items():
    BAD[f"{_name} thin"] = (_content, "has 5 x 501 pixels, one side more than 100")
for _name in ("jpeg rgb", "png rgb", "bmp rgb", "gif", "webp", "webp lossless"):
    _whole = encoded.files()[_name]
    for _kept in (0.1, 0.5, 0.95):
        BAD[f"{_name} {_kept}"] = (
            _whole[: int(_kept * len(_whole))],
            "is damaged or truncated",
        )


if not decoding.READS_WEBP:
    BAD = {name: bad for name, bad in BAD.items() if "webp" not in name}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_fails_its_request_with_its_index(mirror, name):
    good = encoded.files()["png rgb"]
    content, message = BAD[name]
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        mirror(good, good, content, good)
    assert f"[Image 2 {message}" in str(caught.value)


@pytest.mark.parametrize("name", ["jpeg", "png", "bmp", "gif"])
def test_images_without_pixels(mirror, name):
    content = encoded.claiming(0, 7)[name]
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        mirror(content)
    # libjpeg reads no further than the header that says so.
    assert "[Image 0 " in str(caught.value)
    assert "has no pixels" in str(caught.value) or "damaged" in str(caught.value)


def test_a_frame_larger_than_its_canvas_counts(mirror):
    gif = bytearray(encoded.files()["gif"])
    frame = gif.index(b"\x2c\0\0\0\0")
    gif[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(tf.errors.InvalidArgumentError, match="65535 x 65535 pixels"):
        mirror(bytes(gif))


def test_the_limit_of_pixels_is_inclusive():
    for height, width, good in [(5000, 10_000, True), (5000, 10_001, False)]:
        png = encoded.claiming(height, width)["png"]
        problem, _, _ = decoding.check_image(tf.constant(png))
        assert (problem == b"") == good


@pytest.mark.slow
def test_an_empty_batch_and_a_fixed_one(mirror, tmp_path):
    assert mirror().shape[0] == 0
    fixed = _export_mirror(tmp_path / "served", batch_size=2)
    assert fixed.signature.structured_input_signature[1]["image_bytes"].shape == (2,)
    good = encoded.files()["png rgb"]
    np.testing.assert_allclose(fixed(good, good), mirror(good, good), atol=1e-6)
    runner = open_runner(tmp_path / "served")
    assert runner.input_shape == (2, SIZE, SIZE, 3)
    assert verify(_mirror(), runner, np.full((3, 8, 8, 3), 7.0), latency_runs=0).passed


def test_orientation_is_not_applied_and_the_card_says_so(served, mirror):
    image = Image.fromarray(encoded.pixels())
    exif = Image.Exif()
    exif[0x0112] = 6
    plain, marked = (
        encoded.encode(image, "PNG"),
        encoded.encode(image, "PNG", exif=exif),
    )
    assert Image.open(io.BytesIO(marked)).getexif()[0x0112] == 6
    np.testing.assert_array_equal(*mirror(plain, marked))
    card = (served / "assets.extra" / "README.md").read_text()
    assert "EXIF orientation is not applied" in card
    assert "| classify_bytes | `image_bytes` string (None,) |" in card
    assert "50,000,000 pixels" in card
    header = json.loads((served / "assets.extra" / "keras_senet.json").read_text())
    assert header["encoded_images"]["shape"] == [16, 16, 3]


def test_a_version_makes_a_folder_for_tensorflow_serving(tmp_path):
    model = _mirror(raw=False)
    base = tmp_path / "model"
    for version in np.array([1, 2]):
        path = export_saved_model(model, base, version=version, top=version)
        assert path == base / str(version)
    with pytest.raises(ValueError, match="must not exist"):
        export_saved_model(model, base, version=2)
    assert sorted(entry.name for entry in base.iterdir()) == ["1", "2"]
    assert (base / "2" / "saved_model.pb").is_file()
    for bad in (0, -1, True, "1"):
        with pytest.raises(ValueError, match="`version` must be a positive integer"):
            export_saved_model(model, base, version=bad)
    with pytest.raises(ValueError, match="`top` must be a positive integer"):
        export_saved_model(model, base, version=3, top=0)


def test_weights_are_in_the_file_once(tmp_path):
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Dense(300_000)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    path = export_saved_model(model, tmp_path / "served")
    weights = 4 * model.count_params()
    assert weights < (path / "saved_model.pb").stat().st_size < weights + 600_000


def _names(folder):
    return set(tf.saved_model.load(str(folder)).signatures)


def test_models_that_are_no_classifiers_keep_what_fits(model, tmp_path):
    two = keras.Model(model.input, [model.output, model.layers[-2].output])
    maps = keras.Model(model.input, model.layers[-3].output)
    plain = _mirror(raw=False)
    flat = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    for name, candidate, signatures, reason in [
        ("two", two, set(), "the model has 2 outputs"),
        ("maps", maps, set(), "is not one score a class"),
        ("plain", plain, {"classify"}, "Nothing says whether the model normal"),
        ("flat", flat, {"classify"}, "with 1 or 3 channels"),
    ]:
        path = export_saved_model(candidate, tmp_path / name)
        assert _names(path) == {"serving_default", *signatures}
        card = (path / "assets.extra" / "README.md").read_text()
        assert "There is no `classify_bytes`: " in card
        assert reason in card


@pytest.mark.slow
def test_a_model_of_any_size(tmp_path):
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    path = export_saved_model(model, tmp_path / "open")
    assert "classify_bytes" not in _names(path)
    for name, options in (
        ("a", {"image_size": SIZE}),
        ("b", {"preprocessing": RECORD}),
    ):
        path = export_saved_model(model, tmp_path / name, **options)
        found = _signature(path)(image_bytes=tf.constant([encoded.files()["png rgb"]]))
        assert found["scores"].shape == (1, 3)


@keras.saving.register_keras_serializable("test_serving")
class Doubled(keras.layers.Layer):
    def call(self, inputs):
        return 2 * inputs


def test_a_custom_layer(images, tmp_path):
    """The graph holds what it computes, so readers need no class of that name."""
    model, images = _mirror(raw=False), images[:, :SIZE, :SIZE]
    doubled = keras.Model(model.input, Doubled(name="doubled")(model.output))
    expected = 2 * images.reshape(len(images), -1)
    export_saved_model(doubled, tmp_path / "served")
    export_tflite(doubled, tmp_path / "doubled.tflite")
    for name in ("served", "doubled.tflite"):
        found = open_runner(tmp_path / name).predict(images)
        np.testing.assert_allclose(found, expected, atol=1e-5)


class Subclassed(keras.Model):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def call(self, inputs):
        return self.inner(inputs)


@pytest.mark.slow
def test_a_subclassed_model_that_has_run(model, images, tmp_path):
    subclassed = Subclassed(model)
    subclassed(images)
    for export, name in ((export_saved_model, "a"), (export_tflite, "a.tflite")):
        with pytest.raises(ValueError, match=r"Use [^\n]*$"):
            export(subclassed, tmp_path / name)
    assert list(tmp_path.iterdir()) == []
    inputs = keras.Input((16, 16, 3))
    wrapped = keras.Model(inputs, subclassed(inputs))
    path = export_saved_model(wrapped, tmp_path / "wrapped", preprocessing=RECORD)
    expected = model.predict(images, verbose=0)
    np.testing.assert_allclose(open_runner(path).predict(images), expected, atol=1e-5)


@pytest.mark.slow
def test_verification_looks_at_the_files_too(model, images, tmp_path, monkeypatch):
    path = export_saved_model(model, tmp_path / "right", preprocessing=RECORD)
    report = verify(model, path, images, latency_runs=0)
    assert report.passed
    assert report.bytes_difference < 1e-5
    fit = saved_model._fit
    monkeypatch.setattr(saved_model, "_fit", lambda *given: fit(*given)[::-1] * 0.9)
    path = export_saved_model(model, tmp_path / "wrong", preprocessing=RECORD)
    report = verify(model, path, images, latency_runs=0)
    assert (report.passed, report.criterion) == (False, "bytes_difference")
    assert report.max_difference < 1e-5
    assert path.exists(), "a failure removes nothing"
