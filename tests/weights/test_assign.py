"""Assignment is total in both directions."""

import dataclasses

import numpy as np
import pytest

from keras_senet import create_model
from keras_senet.weights import Checkpoint
from keras_senet.weights.assign import assign


def arrays_of(model):
    weights = [v for v in model.variables if "seed_generator" not in v.path]
    return {v.path: np.array(v) for v in weights}


def test_everything_is_assigned(tiny):
    source, target = tiny(), tiny()
    target.set_weights([np.zeros(v.shape) for v in target.variables])
    assert assign(target, arrays_of(source)) == []
    for path, array in arrays_of(target).items():
        np.testing.assert_array_equal(array, arrays_of(source)[path])


def test_missing_and_left_over_are_listed(tiny):
    model = tiny()
    arrays = arrays_of(model)
    before = arrays_of(model)
    del arrays["conv1_bn/gamma"]
    arrays |= {f"extra_{i}/kernel": np.ones(1) for i in range(12)}
    with pytest.raises(ValueError, match="lacks") as error:
        assign(model, arrays)
    text = str(error.value)
    assert "the checkpoint lacks (1): conv1_bn/gamma" in text
    assert "the model lacks (12): extra_0/kernel" in text
    assert "and 2 more" in text and "extra_10" not in text
    for path, array in arrays_of(model).items():
        np.testing.assert_array_equal(array, before[path])


def test_shapes_are_checked(tiny):
    model = tiny()
    arrays = arrays_of(model)
    arrays["conv1_conv/kernel"] = np.ones((3, 3, 3, 4))
    with pytest.raises(ValueError, match=r"is \(3, 3, 3, 4\) in the checkpoint"):
        assign(model, arrays)


def test_head_is_replaced_only_where_classes_differ(tiny):
    source, target = tiny(classes=7), tiny(classes=5)
    arrays = arrays_of(source)
    head = np.array(target.get_layer("predictions").kernel)
    with pytest.warns(UserWarning, match="has 7 classes, the model's 5"):
        kept = assign(target, arrays)
    assert kept == ["predictions/kernel", "predictions/bias"]
    np.testing.assert_array_equal(target.get_layer("predictions").kernel, head)
    np.testing.assert_array_equal(
        target.get_layer("conv1_conv").kernel, arrays["conv1_conv/kernel"]
    )
    same = tiny(classes=7)
    assert assign(same, arrays) == []
    np.testing.assert_array_equal(
        same.get_layer("predictions").kernel, arrays["predictions/kernel"]
    )


def test_missing_head_is_never_left_fresh(tiny):
    arrays = {k: a for k, a in arrays_of(tiny()).items() if "predictions" not in k}
    with pytest.raises(ValueError, match=r"lacks \(2\): predictions/kernel"):
        assign(tiny(), arrays)
    checkpoint = Checkpoint(arrays=arrays)
    with pytest.raises(ValueError, match="must have a classifier"):
        checkpoint.assign(tiny())
    assert checkpoint.assign(tiny(include_top=False), include_top=False) == []


def test_top_is_left_out(tiny):
    checkpoint = Checkpoint(arrays=arrays_of(tiny()))
    assert checkpoint.assign(tiny(include_top=False), include_top=False) == []


def test_grey_and_four_channel_images(tiny, images, relative_error):
    """A grey image gives one channel what it gives three; a fourth keeps the scale."""
    rgb = tiny(include_preprocessing=False)
    arrays = arrays_of(rgb)
    grey = tiny(include_preprocessing=False, input_shape=(32, 32, 1))
    assign(grey, arrays)
    x = images(1, 32, 32, 1)
    assert relative_error(grey(x), rgb(np.repeat(x, 3, -1))) < 1e-5
    four = tiny(include_preprocessing=False, input_shape=(32, 32, 4))
    assign(four, arrays)
    kernel = np.array(four.get_layer("conv1_conv").kernel)
    source = arrays["conv1_conv/kernel"]
    np.testing.assert_allclose(kernel[:, :, 3], source[:, :, 0] * 0.75, rtol=1e-6)
    np.testing.assert_allclose(kernel[:, :, 2], source[:, :, 2] * 0.75, rtol=1e-6)
    two = tiny(include_preprocessing=False, input_shape=(32, 32, 2))
    with pytest.raises(ValueError, match="conv1_conv/kernel is"):
        assign(two, arrays)


def test_generators_are_no_weights(tiny):
    source, target = tiny(), tiny(dropout_rate=0.5)
    assert assign(target, arrays_of(source)) == []


def test_host_leaves_se_untrained(tiny):
    plain = tiny(se=False)
    checkpoint = Checkpoint(arrays=arrays_of(plain), fresh=("_se/",))
    model = tiny(identity_start=True)
    before = np.array(model.get_layer("conv2_block1_se").reduce.kernel)
    with pytest.warns(UserWarning, match="16 weights start as the exact identity"):
        kept = checkpoint.assign(model)
    assert len(kept) == 16 and all("_se/" in path for path in kept)
    np.testing.assert_array_equal(
        model.get_layer("conv2_block1_se").reduce.kernel, before
    )


def test_by_order(randomize):
    arguments = {"weights": None, "alpha": 0.25, "classes": 3}
    plain = randomize(create_model("se_mobilenet", se=False, **arguments))
    model = create_model("se_mobilenet", identity_start=True, **arguments)
    renamed = {f"x{i}/y": a for i, a in enumerate(arrays_of(plain).values())}
    checkpoint = Checkpoint(arrays=renamed, fresh=("_se/",), by_order=True)
    with pytest.warns(UserWarning, match="untrained"):
        checkpoint.assign(model)
    for path, array in arrays_of(plain).items():
        np.testing.assert_array_equal(arrays_of(model)[path], array)
    fewer = dataclasses.replace(checkpoint, arrays=dict(list(renamed.items())[1:]))
    with pytest.raises(ValueError, match="as many weights"):
        fewer.assign(model)
