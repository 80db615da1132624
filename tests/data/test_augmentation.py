import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_senet.data.augmentation import (
    AUGMENTATIONS,
    random_flip,
    random_shift,
    random_window,
    resize_and_crop,
    to_grey,
)

RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos3": Image.Resampling.LANCZOS,
}


@pytest.fixture
def photo():
    """Smooth like a photograph, different in every corner and channel."""

    def make(height, width):
        y, x = np.mgrid[0:height, 0:width]
        planes = [x / width, y / height, (np.sin(x / 3) * np.cos(y / 5) + 1) / 2]
        return (np.stack(planes, -1) * 255).astype(np.uint8)

    return make


def with_pillow(image, size, crop_fraction, interpolation):
    """Short side to size / crop_fraction, both rounded down, centre."""
    height, width = image.shape[:2]
    side = int(size / crop_fraction + 1e-6)
    short = min(height, width)
    new = (width * side // short, height * side // short)
    resized = Image.fromarray(image).resize(new, RESAMPLING[interpolation])
    left, top = round((new[0] - size) / 2), round((new[1] - size) / 2)
    return np.asarray(resized.crop((left, top, left + size, top + size)))


@pytest.mark.parametrize("interpolation", RESAMPLING)
@pytest.mark.parametrize("shape", [(60, 83), (97, 40), (20, 27), (64, 64), (150, 9)])
@pytest.mark.parametrize("crop_fraction", [1.0, 0.875])
def test_resize_and_crop_agrees_with_pillow(photo, shape, crop_fraction, interpolation):
    image = photo(*shape)
    ours = resize_and_crop(
        tf.constant(image),
        (28, 28),
        crop_fraction=crop_fraction,
        interpolation=interpolation,
    )
    theirs = with_pillow(image, 28, crop_fraction, interpolation)
    assert ours.shape == (28, 28, 3)
    difference = np.abs(ours.numpy() - theirs)
    # Of values that lie halfway between two whole ones, float32 may miss some.
    assert difference.max() <= 1
    assert difference.mean() < 0.12


@pytest.mark.parametrize("interpolation", RESAMPLING)
def test_edges_are_pillows_too(interpolation):
    """Where bicubic overshoots, one step over both axes is off by up to 20 levels."""
    image = np.random.default_rng(0).choice([0, 255], (300, 341, 3)).astype(np.uint8)
    options = {"crop_fraction": 0.875, "interpolation": interpolation}
    ours = resize_and_crop(tf.constant(image), (224, 224), **options)
    theirs = with_pillow(image, 224, **options)
    assert np.max(np.abs(ours.numpy() - theirs)) <= 1


def in_two_steps(image, size):
    """Resizes wholly, the width first, rounded after each step."""
    for target in ((image.shape[0], size[1]), size):
        image = tf.floor(tf.image.resize(image, target, antialias=True) + 0.5)
    return image


def test_only_the_pixels_kept_are_computed(photo):
    image = tf.constant(photo(61, 90))
    whole = in_two_steps(image, (32, 47))
    ours = resize_and_crop(image, (28, 28), crop_fraction=0.875)
    np.testing.assert_allclose(ours, whole[2:30, 10:38], atol=1)
    assert np.mean(ours != whole[2:30, 10:38]) < 0.01


def test_images_of_the_right_size_are_not_touched(photo):
    image = tf.constant(photo(28, 28))
    assert resize_and_crop(image, (28, 28)) is image


@pytest.mark.parametrize("interpolation", RESAMPLING)
def test_the_right_size_in_a_graph_of_unknown_sizes_is_bit_exact(photo, interpolation):
    def resized(image):
        return resize_and_crop(image, (28, 28), interpolation=interpolation)

    spec = tf.TensorSpec((None, None, 3), tf.uint8)
    image = photo(28, 28)
    assert np.array_equal(tf.function(resized, [spec])(image), image)


def test_bicubic_stays_within_the_range_of_pixels():
    image = np.zeros((40, 40, 1), np.uint8)
    image[:, 20:] = 255
    resized = resize_and_crop(tf.constant(image), (90, 90), interpolation="bicubic")
    assert np.min(resized) == 0
    assert np.max(resized) == 255


@pytest.mark.parametrize("shape", [(2, 40_000), (40_000, 2)])
def test_a_very_long_image_costs_no_memory(photo, shape):
    ours = resize_and_crop(tf.constant(photo(*shape)), (200, 200))
    assert ours.shape == (200, 200, 3)


def test_rectangles_are_covered(photo):
    ours = resize_and_crop(tf.constant(photo(50, 50)), (20, 40))
    np.testing.assert_array_equal(ours, in_two_steps(photo(50, 50), (40, 40))[10:30])


def test_grey_is_pillows(photo):
    image = np.concatenate(
        [photo(40, 50), np.random.default_rng(0).integers(0, 256, (40, 50, 3))]
    ).astype(np.uint8)
    expected = np.asarray(Image.fromarray(image).convert("L"))
    grey = to_grey(tf.constant(image))
    assert grey.dtype == tf.uint8
    np.testing.assert_array_equal(grey[..., 0], expected)


def test_flip_mirrors_half_of_the_images_left_to_right():
    image = tf.reshape(tf.range(12), (2, 3, 2))
    flipped = 0
    for number in range(200):
        result = random_flip(image, (number, 7))
        if np.array_equal(result, image):
            continue
        assert np.array_equal(result, image[:, ::-1])
        flipped += 1
    assert 70 < flipped < 130


def test_shift_moves_by_up_to_the_padding_in_each_direction():
    image = np.zeros((9, 9, 1), np.uint8)
    image[4, 4] = 200
    seen = set()
    for number in range(300):
        result = random_shift(tf.constant(image), (number, 7)).numpy()
        assert result.shape == image.shape
        assert result.sum() == 200
        seen.add(tuple(np.argwhere(result)[0][:2] - 4))
    rows, columns = zip(*seen, strict=True)
    assert set(rows) == set(columns) == set(range(-4, 5))
    assert len(seen) > 60


def test_shift_fills_with_zeros():
    image = tf.fill((5, 5, 3), tf.constant(9, tf.uint8))
    results = [random_shift(image, (number, 7)).numpy() for number in range(30)]
    assert {value for r in results for value in np.unique(r)} == {0, 9}
    assert all(len(np.unique(r.reshape(-1, 3), axis=0)) <= 2 for r in results)


def test_cifar_shifts_and_flips_independently():
    image = np.zeros((9, 9, 1), np.uint8)
    image[4, 3:6, 0] = (1, 2, 3)
    seen = set()
    for number in range(300):
        result = AUGMENTATIONS["cifar"](tf.constant(image), (number, 7)).numpy()
        y, x, _ = np.argwhere(result == 2)[0] if 2 in result else (0, 0, 0)
        if 0 < x < 8:
            seen.add((int(y), int(x), bool(result[y, x - 1, 0] == 3)))
    # Nine rows, and the seven columns at whose sides both neighbours are seen.
    assert seen <= {(y, x, f) for y in range(9) for x in range(9) for f in (0, 1)}
    assert {flipped for _, _, flipped in seen} == {False, True}
    assert len(seen) > 63


def test_windows_lie_inside_and_have_the_areas_and_aspects_promised():
    height, width = 300, 400
    windows = np.array(
        [random_window((height, width, 3), (number, 5)) for number in range(500)]
    )
    y, x, h, w = windows.T
    assert np.all((y >= 0) & (x >= 0) & (y + h <= height) & (x + w <= width))
    area, aspect = h * w / (height * width), w / h
    assert np.all((area > 0.075) & (area <= 1))
    assert area.min() < 0.15
    assert area.max() > 0.85
    assert np.all((aspect > 0.74) & (aspect < 1.35))
    assert np.ptp(aspect) > 0.4


@pytest.mark.parametrize("function", [random_flip, random_shift])
def test_the_same_seed_gives_the_same_result(function, photo):
    image = tf.constant(photo(12, 12))
    first = [function(image, (number, 1)).numpy() for number in range(8)]
    again = [function(image, (number, 1)).numpy() for number in range(8)]
    assert np.array_equal(first, again)
    assert len(np.unique([result.tobytes() for result in first])) > 1


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((8, 8), {}, r"`image` must be .H, W, C.*shape .8, 8."),
        ((8, 8, 3), {"crop_fraction": 2}, "`crop_fraction` must lie above 0.*=2"),
        ((8, 8, 3), {"crop_fraction": 0}, "crop_fraction=0"),
        ((8, 8, 3), {"interpolation": "linear"}, "Did you mean 'bilinear'"),
    ],
)
def test_bad_arguments_are_named(shape, options, message):
    with pytest.raises(ValueError, match=message):
        resize_and_crop(np.zeros(shape, "uint8"), (4, 4), **options)
