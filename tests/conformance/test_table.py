"""The table of cases is complete."""

from conformance.cases import BLOCKS, FULL, TINY

import keras_senet
from keras_senet.models import registry


def test_every_constructor_is_a_case():
    assert set(FULL) == set(keras_senet.list_models())


def test_every_public_constructor_is_registered():
    public = {name for name in keras_senet.__all__ if name.startswith("SE")}
    registered = {c.__name__ for c in registry.CONSTRUCTORS.values()}
    assert public == registered


def test_every_family_has_a_tiny_case():
    modules = {module.__name__.rsplit(".")[-1] for module in registry._MODULES}
    assert set(BLOCKS) == modules
    assert {name for names in BLOCKS.values() for name in names} == set(TINY)
