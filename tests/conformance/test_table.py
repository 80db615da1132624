"""The table of cases is complete."""

from conformance.cases import BLOCKS, FULL, LARGE, TINY

import keras_senet
from keras_senet.models import registry


def test_every_constructor_is_a_case():
    assert set(FULL) | LARGE == set(keras_senet.list_models())


def test_every_public_constructor_is_registered():
    values = {name: getattr(keras_senet, name) for name in keras_senet.__all__}
    public = {name for name, value in values.items() if hasattr(value, "family")}
    registered = {c.__name__ for c in registry.CONSTRUCTORS.values()}
    assert public == registered


def test_every_family_has_a_tiny_case():
    modules = {module.__name__.rsplit(".")[-1] for module in registry._MODULES}
    assert set(BLOCKS) == modules
    assert {name for names in BLOCKS.values() for name in names} == set(TINY)
