import dataclasses

import keras
import numpy as np
import pytest

from keras_senet import Preprocessing, preprocess_input
from keras_senet.data import open_source
from keras_senet.export import open_runner

RECORD = Preprocessing(
    mean=(0.4, 0.5, 0.6),
    std=(0.2, 0.3, 0.4),
    channel_order="BGR",
    image_size=40,
    crop_fraction=0.8,
    interpolation="bicubic",
)


@pytest.fixture
def source():
    """Images of one size."""
    return open_source("bundled")


@pytest.fixture
def various(source):
    """Images of various sizes."""
    return dataclasses.replace(source, image_size=None)


def runner_of(side=None, record=None, channels=3):
    inputs = keras.Input((side, side, channels))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs))
    if record is not None:
        model.preprocessing = record
    return open_runner(model)


def test_the_size_is_the_models_then_the_records_then_the_sources(source, various):
    for data in (source, various):
        assert runner_of(24, RECORD).view(data).image_size == (24, 24)
        assert runner_of(None, RECORD).view(data).image_size == (40, 40)
    assert runner_of().view(source).image_size == (28, 28)
    view = runner_of().view(source, default_size=224)
    assert view.image_size == (28, 28)
    view = runner_of().view(various, default_size=224)
    assert view.image_size == (224, 224)
    view = runner_of().view(various, image_size=(30, 20))
    assert view.image_size == (30, 20)
    with pytest.raises(ValueError, match=r"different sizes.*pass a size"):
        runner_of().view(various)
    with pytest.raises(ValueError, match=r"two, \(height, width\).*\(30, 20, 3\)"):
        runner_of().view(various, image_size=(30, 20, 3))


def test_the_crop_is_the_records(source):
    """Also where all images have the size already: `predict` sees one at a time."""
    for side in (28, 40):
        view = runner_of(side, RECORD).view(source)
        assert (view.crop_fraction, view.interpolation) == (0.8, "bicubic")
    unknown = runner_of(40).view(source)
    assert (unknown.crop_fraction, unknown.interpolation) == (1.0, "bilinear")
    given = runner_of(40, RECORD).view(source, crop_fraction=0.5)
    assert given.crop_fraction == 0.5


def test_images_are_normalised_where_the_record_asks_for_it(source):
    whole = dataclasses.replace(RECORD, crop_fraction=1.0)
    raw, labels = read(runner_of(28).view(source))
    found, same = read(runner_of(28, whole).view(source))
    expected = preprocess_input(raw, "channels_last", preset=RECORD)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(labels, same)
    assert raw.max() > 100 > found.max()


def test_a_model_of_no_images_is_refused(source):
    with pytest.raises(ValueError, match=r"1 or 3.*takes \(None, 28, 28, 4\)"):
        runner_of(28, channels=4).view(source)


def read(view):
    ((images, labels),) = view.batches("test", limit=8).as_numpy_iterator()
    return images, labels
