"""Small networks and arrays that the tests of this room share."""

import pytest

from keras_senet import Preprocessing, create_model

ROW = {
    "blocks": (1, 1, 1, 1),
    "filters": (4, 8, 8, 16),
    "cardinality": 2,
    "width": 32,
    "stem_filters": (4,),
}


@pytest.fixture
def tiny(randomize):
    """Makes a small network of random weights."""

    def make(**kwargs):
        arguments = {
            "weights": None,
            "classes": 5,
            "input_shape": (32, 32, 3),
            "include_preprocessing": Preprocessing(image_size=32),
            **ROW,
            **kwargs,
        }
        return randomize(create_model("se_resnext", **arguments))

    return make
