import warnings
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

import keras_senet
from keras_senet.export import compare_variants, export_tflite, open_runner
from keras_senet.export.quantize import calibration_images
from keras_senet.export.saved_model import export_saved_model
from keras_senet.export.tflite import check_builtin
from keras_senet.tracing import freeze
from keras_senet.utils.flatbuffer import read_tflite
from keras_senet.utils.meaning import takes_raw_images

TOLERANCES = {None: 1e-5, "float16": 5e-3, "dynamic": 0.05, "int8": 0.08}


@pytest.fixture(scope="module", params=list(TOLERANCES))
def exported(request, model, images, tmp_path_factory):
    path = tmp_path_factory.mktemp("tflite") / "model.tflite"
    data = images if request.param == "int8" else None
    export_tflite(model, path, quantization=request.param, representative_dataset=data)
    return request.param, path


@pytest.fixture(scope="module")
def needs_flex():
    class Erf(keras.layers.Layer):
        def call(self, inputs):
            return keras.ops.erf(inputs)

    inputs = keras.Input((4, 4, 3))
    return keras.Model(inputs, Erf()(keras.layers.Conv2D(3, 1)(inputs)))


def test_every_quantization_computes_the_model(exported, model, images):
    quantization, path = exported
    difference = np.abs(
        open_runner(path).predict(images) - model.predict(images, verbose=0)
    ).max()
    assert difference <= TOLERANCES[quantization]
    if quantization is not None:
        assert difference > 1e-6, "the weights are not quantised at all"


def test_every_quantization_says_what_it_is(exported):
    quantization, path = exported
    contents = read_tflite(path)
    assert contents.quantization == quantization
    assert contents.foreign == ()
    assert {"CONV_2D", "MEAN", "LOGISTIC", "SOFTMAX"} <= set(contents.operations)


def test_batches_of_any_size(exported, images):
    runner = open_runner(exported[1])
    assert runner.input_shape == (None, 16, 16, 3)
    together = runner.predict(images)
    apart = np.concatenate([runner.predict(images[i : i + 1]) for i in range(12)])
    # Dynamic-range files scale the activations batch by batch.
    atol = 0.05 if exported[0] == "dynamic" else 1e-5
    np.testing.assert_allclose(together, apart, atol=atol)
    np.testing.assert_allclose(
        runner.predict(images, batch_size=5), together, atol=atol
    )


@pytest.mark.parametrize("mode", ["int8", "float8"])
def test_a_network_that_keras_quantized_is_refused(tmp_path, mode):
    """The converter's own message is a stack of locations."""
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(4, "softmax")(x), name="small")
    with warnings.catch_warnings(action="ignore"):  # of layers without such a form
        model.quantize(mode)
    message = r"`quantize` changed\. Received: 'small'.*quantization='int8'"
    with pytest.raises(ValueError, match=message):
        export_tflite(model, tmp_path / "a.tflite")
    images, labels = np.zeros((4, 8, 8, 3)), np.zeros(4, int)
    with pytest.raises(ValueError, match=message):
        compare_variants(model, tmp_path / "a", (images, labels), variants=["float32"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("io_type", ["uint8", "int8"])
def test_int8_computes_in_integers(model, images, tmp_path, io_type):
    path = export_tflite(
        model,
        tmp_path / "a.tflite",
        quantization="int8",
        representative_dataset=images,
        io_type=io_type,
    )
    interpreter = Interpreter(model_path=str(path))
    assert np.dtype(interpreter.get_input_details()[0]["dtype"]) == io_type
    assert np.dtype(interpreter.get_output_details()[0]["dtype"]) == io_type
    kinds = {np.dtype(detail["dtype"]) for detail in interpreter.get_tensor_details()}
    assert np.dtype("float32") not in kinds
    expected = model.predict(images, verbose=0)
    np.testing.assert_allclose(open_runner(path).predict(images), expected, atol=0.08)


def test_representative_data_in_every_form(model, images):
    labels, frozen = np.zeros(len(images), "int64"), freeze(model)
    pairs = tf.data.Dataset.from_tensor_slices((images, labels)).batch(5)
    for data in (
        images,
        (images, labels),
        [images[:7], images[7:]],
        (images[i : i + 5] for i in (0, 5, 10)),
        pairs,
        pairs.repeat(),
        tuple(images[i : i + 3] for i in (0, 3, 6, 9)),
        tuple((images[i : i + 4], labels[i : i + 4]) for i in (0, 4, 8)),
        (images, list(labels)),
    ):
        taken = calibration_images(frozen, data, limit=12)
        np.testing.assert_array_equal(np.concatenate(taken), images)
        assert {image.shape for image in taken} == {(1, 16, 16, 3)}
    taken = calibration_images(frozen, images.astype("uint8"), limit=3)
    np.testing.assert_array_equal(np.concatenate(taken), np.floor(images[:3]))


def _broken(images, **values):
    copy = images.copy()
    copy[3, 2, 1, 0] = values["value"]
    return copy


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: None, "int8 needs real images"),
        (lambda x: [], "must hold images"),
        (lambda x: x / 255, "scaled to 0..1.*Multiply them by 255"),
        (lambda x: x / 127.5 - 1, "must not be normalized.*from -"),
        (lambda x: x * 2, "must not be normalized"),
        (lambda x: _broken(x, value=np.nan), "finite"),
        (lambda x: _broken(x, value=np.inf), "finite"),
        (lambda x: np.full_like(x, 7), "differ from each other"),
        (lambda x: x[:, :8], r"\(None, 16, 16, 3\).*Received.*\(12, 8, 16, 3\)"),
        (lambda x: list(x), r"batches of images.*\(16, 16, 3\)"),
    ],
)
def test_representative_data_is_checked(model, images, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        export_tflite(
            model,
            tmp_path / "a.tflite",
            quantization="int8",
            representative_dataset=change(images),
        )
    assert list(tmp_path.iterdir()) == []


def test_model_without_normalisation_takes_any_range(images, tmp_path):
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3)(inputs)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    path = export_tflite(
        model,
        tmp_path / "a.tflite",
        quantization="int8",
        representative_dataset=images / 127.5 - 1,
    )
    assert read_tflite(path).quantization == "int8"


def test_representative_data_from_a_source(tmp_path):
    """Its training images, prepared as the model's preprocessing says."""
    inputs = keras.Input((14, 14, 1))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(x))
    model = keras.Model(inputs, x)
    source = keras_senet.data.open_source("bundled")
    taken = np.concatenate(calibration_images(freeze(model), source, limit=20))
    dataset = keras_senet.data.batches(
        source, "train", image_size=14, batch_size=20, limit=20
    )
    np.testing.assert_array_equal(taken, next(iter(dataset))[0])
    again = calibration_images(freeze(model), "bundled", limit=20)
    np.testing.assert_array_equal(np.concatenate(again), taken)
    other = keras.Input((4,), name="b")
    several = keras.Model([inputs, other], keras.layers.Add()([x, other]))
    with pytest.raises(ValueError, match=r"must have one input.*has 2"):
        calibration_images(freeze(several), source, limit=20)
    path = tmp_path / "a.tflite"
    with pytest.raises(FileNotFoundError, match="nowhere"):
        export_tflite(
            model, path, quantization="int8", representative_dataset="./nowhere"
        )


def test_a_source_is_normalised_where_the_network_does_not():
    inputs = keras.Input((28, 28, 1))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(inputs))
    model = keras.Model(inputs, x)
    source = keras_senet.data.open_source("bundled")
    raw = np.concatenate(calibration_images(freeze(model), source, limit=20))
    assert raw.max() > 200
    model.preprocessing = keras_senet.Preprocessing(
        mean=(0.3,), std=(0.5,), image_size=28, crop_fraction=1.0
    )
    taken = np.concatenate(calibration_images(freeze(model), source, limit=20))
    np.testing.assert_allclose(taken, (raw / 255 - 0.3) / 0.5, atol=1e-6)
    for wrong in (raw, raw / 255):
        message = r"black is -0.6, white is 1.4\. Received: values from 0 to "
        with pytest.raises(ValueError, match=message):
            calibration_images(freeze(model), wrong, limit=20)
    calibration_images(freeze(model), taken, limit=20)
    network = keras_senet.SEResNet20(weights=None, input_shape=(28, 28, 1))
    with pytest.raises(ValueError, match=r"raw.*include_preprocessing=True"):
        calibration_images(freeze(network), source, limit=20)


@pytest.mark.parametrize(
    ("layer", "raw"),
    [
        (keras.layers.Rescaling(1 / 127.5, -1), True),
        (keras.layers.Rescaling([1.0] * 3, [-123.68, -116.78, -103.94]), True),
        (keras.layers.Normalization(mean=120.0, variance=3600.0), True),
        (keras.layers.Rescaling([4.4, 4.5, 4.4], [-2.1, -2.0, -1.8]), False),
        (keras.layers.Normalization(mean=0.45, variance=0.05), False),
        (keras.layers.Conv2D(3, 1), False),
    ],
)
def test_networks_that_take_raw_images_are_known(layer, raw):
    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, keras.layers.Rescaling(1 / 255)(layer(inputs)))
    assert takes_raw_images(model) == raw


def test_what_is_no_image_has_no_pixels():
    inputs = keras.Input((20,))
    x = keras.layers.Normalization(mean=500.0, variance=100.0)(inputs)
    assert not takes_raw_images(keras.Model(inputs, keras.layers.Dense(2)(x)))


def test_a_pixel_is_a_step_of_the_input_whatever_the_images_are(tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(4, 3, activation="relu")(x)
    x = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x))
    images = np.random.default_rng(0).integers(30, 120, (16, 8, 8, 3))
    path = export_tflite(
        keras.Model(inputs, x),
        tmp_path / "a.tflite",
        quantization="int8",
        representative_dataset=[images.astype("float32")],
        io_type="uint8",
    )
    (taken,) = Interpreter(str(path)).get_input_details()
    assert taken["quantization"] == (pytest.approx(1.0), 0)


def test_flex_is_refused(needs_flex, tmp_path):
    with pytest.raises(ValueError, match=r"builtin operations\. .*needs Erf"):
        export_tflite(needs_flex, tmp_path / "a.tflite")
    assert list(tmp_path.iterdir()) == []


def test_the_flex_check_itself_fires(needs_flex, tmp_path, monkeypatch):
    folder = export_saved_model(needs_flex, tmp_path / "flex")
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder))
    ops = tf.lite.OpsSet
    converter.target_spec.supported_ops = [ops.TFLITE_BUILTINS, ops.SELECT_TF_OPS]
    data = converter.convert()
    with pytest.raises(ValueError, match="needs FlexErf"):
        check_builtin(data)
    monkeypatch.setattr(type(converter), "convert", lambda *_: data)
    with pytest.raises(ValueError, match="needs FlexErf"):
        export_tflite(needs_flex, tmp_path / "a.tflite")
    assert not (tmp_path / "a.tflite").exists()
    (tmp_path / "flex.tflite").write_bytes(data)
    with pytest.raises(ValueError, match="needs FlexErf"):
        open_runner(tmp_path / "flex.tflite")


def test_labels_travel_in_the_file(model, tmp_path):
    names = [f"class {i}" for i in range(7)]
    path = export_tflite(model, tmp_path / "a.tflite", labels=names)
    assert open_runner(path).labels == tuple(names)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["keras_senet.json", "labels.txt"]
        assert archive.read("labels.txt").decode().splitlines() == names
        assert {info.compress_type for info in archive.infolist()} == {0}
    with pytest.raises(ValueError, match="2 labels for a model with 7 classes"):
        export_tflite(model, tmp_path / "b.tflite", labels=["a", "b"])


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_becomes_float32(make_model, model, images, tmp_path, policy):
    mixed = make_model(policy=policy)
    mixed.set_weights(model.get_weights())
    path = export_tflite(mixed, tmp_path / "a.tflite")
    assert read_tflite(path).quantization is None
    expected = model.predict(images, verbose=0)
    np.testing.assert_allclose(open_runner(path).predict(images), expected, atol=1e-5)


def test_model_with_a_fixed_batch(make_model, model, images, tmp_path):
    path = export_tflite(make_model(batch_size=5), tmp_path / "a.tflite")
    runner = open_runner(path)
    assert runner.input_shape == (5, 16, 16, 3)
    expected = model.predict(images, verbose=0)
    np.testing.assert_allclose(runner.predict(images), expected, atol=1e-5)
    export_tflite(
        model,
        path,
        quantization="int8",
        representative_dataset=images,
        batch_size=5,
        overwrite=True,
    )
    assert open_runner(path).input_shape == (5, 16, 16, 3)
    np.testing.assert_allclose(open_runner(path).predict(images), expected, atol=0.08)


@pytest.mark.parametrize("quantization", [None, "int8"])
def test_images_of_any_size(images, tmp_path, quantization):
    keras.utils.set_random_seed(3)
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same")(x)
    # Cannot be run at the size of 1 x 1 that the file holds for an open one.
    x = keras.layers.Conv2D(8, 3, padding="valid")(x)
    x = keras.layers.ReLU()(keras_senet.SqueezeExcite(2)(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    network = keras.Model(inputs, keras.layers.Dense(7, activation="softmax")(x))
    path = export_tflite(
        network,
        tmp_path / "a.tflite",
        quantization=quantization,
        representative_dataset=[images, images[:, :8]],
    )
    runner = open_runner(path)
    assert runner.input_shape == (None, None, None, 3)
    for part in (images, images[:, 2:, :14], np.tile(images, (1, 2, 2, 1))):
        expected = network.predict(part, verbose=0)
        atol = 1e-5 if quantization is None else 0.02
        np.testing.assert_allclose(runner.predict(part), expected, atol=atol)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"quantization": "fp16"}, "Did you mean 'float16'"),
        ({"quantization": "float32"}, "Use quantization=None"),
        ({"quantization": "INT8"}, "Did you mean 'int8'"),
        ({"quantization": "int4"}, "'float16', 'dynamic', 'int8'.*'int4'"),
        ({"quantization": "flaot16"}, "Did you mean 'float16'"),
        ({"io_type": "uint8"}, "needs quantization='int8'"),
        ({"float_operations": ["a"]}, "needs quantization='int8'"),
        ({"float_operations": "out"}, "must be a list of expressions"),
        ({"io_type": "int16", "quantization": "int8"}, "'uint8', 'int8'.*'int16'"),
        ({"path": "model.lite"}, r"end in '\.tflite'.*model\.lite"),
        ({"labels": "abcde"}, "`labels` must be a list of names"),
        ({"batch_size": 0}, "`batch_size` must be a positive.*batch_size=0"),
        ({"batch_size": -1}, "`batch_size` must be a positive.*batch_size=-1"),
        ({"image_size": (16, 16, 3)}, r"two, \(height, width\).*\(16, 16, 3\)"),
        ({"image_size": 0}, r"two, \(height, width\).*image_size=0"),
        (
            {"quantization": "int8", "representative_limit": 0},
            "`representative_limit` must be a positive integer.*=0",
        ),
    ],
)
def test_bad_arguments(model, tmp_path, arguments, message):
    path = tmp_path / arguments.pop("path", "a.tflite")
    with pytest.raises(ValueError, match=message):
        export_tflite(model, path, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_existing_file_is_kept_unless_told(model, tmp_path):
    path = tmp_path / "a.tflite"
    path.write_text("precious")
    with pytest.raises(ValueError, match="must not exist"):
        export_tflite(model, path)
    assert path.read_text() == "precious"
    export_tflite(model, path, overwrite=True)
    assert open_runner(path).kind == "tflite"


def test_crash_leaves_nothing_under_the_name(model, tmp_path, monkeypatch):
    def crash(*given, **options):
        raise OSError("No space left on device")

    monkeypatch.setattr("keras_senet.export.tflite.add_metadata", crash)
    with pytest.raises(OSError, match="No space"):
        export_tflite(model, tmp_path / "a.tflite")
    assert list(tmp_path.iterdir()) == []


def test_the_converter_is_quiet(model, images, tmp_path, capfd):
    capfd.readouterr()
    path = export_tflite(
        model,
        tmp_path / "a.tflite",
        quantization="int8",
        representative_dataset=images,
    )
    open_runner(path).predict(images)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("fold", [False, True])
def test_sequential_model(sequential, images, tmp_path, fold):
    path = export_tflite(sequential, tmp_path / "a.tflite", fold=fold)
    expected = sequential.predict(images, verbose=0)
    np.testing.assert_allclose(open_runner(path).predict(images), expected, atol=1e-5)


def _open_size():
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(x))
    model = keras.Model(inputs, x)
    model.preprocessing = keras_senet.Preprocessing(image_size=64)
    return model


def test_a_source_is_seen_at_the_size_that_is_exported(tmp_path):
    path = export_tflite(
        _open_size(),
        tmp_path / "a.tflite",
        quantization="int8",
        representative_dataset="bundled",
        representative_limit=8,
        image_size=32,
    )
    assert open_runner(path).input_shape == (None, 32, 32, 3)


class Twice(keras.layers.Layer):
    def call(self, inputs):
        return 2 * inputs


@pytest.mark.parametrize("quantization", [None, "int8"])
def test_custom_layer_and_two_outputs(images, tmp_path, quantization):
    keras.utils.set_random_seed(3)
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3)(keras.layers.Rescaling(1 / 127.5, -1)(inputs))
    x = keras.layers.GlobalAveragePooling2D(name="features")(Twice()(x))
    x = [x, keras.layers.Dense(3, activation="softmax", name="scores")(x)]
    model = keras.Model(inputs, x)
    path = export_tflite(
        model,
        tmp_path / "a.tflite",
        quantization=quantization,
        representative_dataset=images,
        labels=["a", "b", "c"],
    )
    outputs = open_runner(path).predict(images)
    for name, expected in zip(
        ("features", "scores"), model.predict(images, verbose=0), strict=True
    ):
        atol = 1e-5 if quantization is None else 0.03
        np.testing.assert_allclose(outputs[name], expected, atol=atol)


@pytest.mark.parametrize("quantization", [None, "int8"])
def test_subclassed_model_is_one_clear_line(images, tmp_path, quantization):
    class Own(keras.Model):
        def call(self, inputs):
            return inputs[:, 0, 0]

    own = Own()
    own(images)
    arguments = {"quantization": quantization, "representative_dataset": images}
    with pytest.raises(ValueError, match=r"inputs must be known.*Own.*keras\.Input"):
        export_tflite(own, tmp_path / "a.tflite", **arguments)
    assert not list(tmp_path.iterdir())
    inputs = keras.Input((16, 16, 3))
    wrapped = keras.Model(inputs, own(inputs))
    path = export_tflite(wrapped, tmp_path / "a.tflite", **arguments)
    scores = open_runner(path).predict(images)
    np.testing.assert_allclose(scores, images[:, 0, 0], atol=1)
