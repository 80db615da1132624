"""Arrays and batches are read alike."""

import numpy as np
import pytest

from keras_senet.utils.labelled import class_numbers, read_images, read_labelled

IMAGES = np.arange(7 * 2 * 3 * 1, dtype="uint8").reshape(7, 2, 3, 1)
LABELS = np.arange(7)
PAIRS = [(IMAGES[:4], LABELS[:4]), (IMAGES[4:], LABELS[4:])]
LABELLED = {
    "arrays": (IMAGES, LABELS),
    "lists": (list(IMAGES), list(LABELS)),
    "columns": (IMAGES, LABELS[:, None]),
    "rows": (IMAGES, np.eye(7)),
    "batches": PAIRS,
    "tuple of batches": (PAIRS[0], *((IMAGES[i:][:2], LABELS[i:][:2]) for i in (4, 6))),
    "batches as lists": [list(pair) for pair in PAIRS],
    "mappings": [{"image": images, "label": labels} for images, labels in PAIRS],
    "a mapping": {"image": IMAGES, "label": LABELS},
    "a function": lambda: iter(PAIRS),
    "an empty batch": [PAIRS[0], (IMAGES[:0], LABELS[:0]), PAIRS[1]],
}
UNLABELLED = {
    "array": IMAGES,
    "batches": [IMAGES[:4], IMAGES[4:]],
    "tuple of batches": (IMAGES[:4], IMAGES[4:]),
    "tuple of an array": (IMAGES,),
    "weights": (IMAGES, LABELS, np.ones(7)),
    "batches of one": [(IMAGES[:4],), (IMAGES[4:],)],
    "a function, as TFLite's guide has it": lambda: iter([[IMAGES[:4]], [IMAGES[4:]]]),
    "mappings of images": [{"images": IMAGES[:4]}, {"images": IMAGES[4:]}],
}


@pytest.mark.parametrize("limit", [None, 3, 4, 5, 99])
@pytest.mark.parametrize("form", LABELLED)
def test_labelled(form, limit):
    batches = list(read_labelled(LABELLED[form], 3, limit=limit))
    assert all(len(images) for images, _ in batches)
    images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    np.testing.assert_array_equal(images, IMAGES[:limit])
    np.testing.assert_array_equal(class_numbers(labels), LABELS[:limit])
    assert images.dtype == "uint8"


@pytest.mark.parametrize("limit", [None, 5])
@pytest.mark.parametrize("form", LABELLED | UNLABELLED)
def test_images(form, limit):
    data = (LABELLED | UNLABELLED)[form]
    images = np.concatenate(list(read_images(data, 3, limit=limit)))
    np.testing.assert_array_equal(images, IMAGES[:limit])


@pytest.mark.parametrize("read", [read_labelled, read_images])
def test_training_and_test_images_are_not_put_together(read):
    """As `load_data` of keras.datasets returns them."""
    with pytest.raises(ValueError, match=r"two pairs.*data\[0\] or data\[1\]"):
        next(read(tuple(PAIRS)))


def test_a_batch_of_no_images_is_refused():
    with pytest.raises(ValueError, match=r"`batch_size` must be.*batch_size=0"):
        next(read_labelled((IMAGES, LABELS), 0))


def test_arrays_are_divided_and_no_more_is_read_than_is_wanted():
    assert [len(x) for x, _ in read_labelled((IMAGES, LABELS), 3)] == [3, 3, 1]

    def endless():
        while True:
            yield IMAGES[:4], LABELS[:4]

    assert [len(x) for x, _ in read_labelled(endless(), limit=6)] == [4, 2]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([IMAGES], "must be pairs .* a batch of 1 parts"),
        (IMAGES, "must be pairs"),
        ((IMAGES, LABELS, LABELS), "a batch of 3 parts"),
        ((IMAGES, LABELS[:6]), r"one label for each image. .* shape \(6,\)"),
        ((IMAGES, LABELS[:6, None]), "one label for each image"),
        ([(IMAGES, LABELS[0])], "one label for each image"),
        (
            list(zip(IMAGES, LABELS, strict=True)),
            r"labels of shape \(\)\. .*batch\(32\)",
        ),
        (list(zip(IMAGES, np.eye(7), strict=True)), r"one label .*batch\(32\)"),
        ([], "`data` must hold images"),
        ((IMAGES[:0], LABELS[:0]), "`data` must hold images"),
    ],
)
def test_what_is_no_labelled_data_is_said(data, message):
    with pytest.raises(ValueError, match=message):
        list(read_labelled(data))


def test_a_missing_label_is_said_before_anything_is_yielded():
    with pytest.raises(ValueError, match="one label for each image"):
        next(read_labelled((IMAGES, LABELS[:6]), 2, limit=4))


def test_a_generator_that_was_read_is_said():
    data = iter([IMAGES])
    list(read_images(data))
    with pytest.raises(ValueError, match=r"`photographs` must .* not a generator"):
        list(read_images(data, name="photographs"))


@pytest.mark.parametrize(
    "labels",
    [
        np.array([0.5, 1.0]),
        np.array([[1, 1, 0], [0, 0, 1]]),  # of several classes
        np.array([[0.9, 0.1], [0.0, 1.0]]),  # shares
        np.array([[0, 0], [0, 1]]),  # of none
        np.array([[0.5], [1.0]]),
        np.zeros((2, 2, 2), int),
    ],
)
def test_labels_that_name_no_class_are_said(labels):
    with pytest.raises(ValueError, match=r"one-hot rows.*Received: labels of shape"):
        class_numbers(labels)


@pytest.mark.parametrize("data", [None, 5, lambda: None])
def test_what_holds_no_images_is_said(data):
    with pytest.raises(ValueError, match="or a function that returns one of these"):
        list(read_images(data))


@pytest.mark.parametrize("data", [["cat.jpg"], "folder", [()], [5]])
def test_batches_of_no_images_are_said(data):
    with pytest.raises(
        ValueError, match=r"`data` must hold images\. Received: a batch"
    ):
        list(read_images(data))


def test_a_function_may_return_arrays():
    for data in (lambda: IMAGES, lambda: (IMAGES, LABELS)):
        batches = list(read_images(data, 2))
        np.testing.assert_array_equal(np.concatenate(batches), IMAGES)
        assert len(batches[0]) == 2


def test_a_mapping_without_images():
    with pytest.raises(ValueError, match="Received: pixels, label"):
        list(read_images([{"pixels": IMAGES, "label": LABELS}]))
