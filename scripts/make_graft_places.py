"""Writes tests/goldens/surgery/graft_places.json: where `graft` puts SE by itself.

    python scripts/make_graft_places.py

One entry for each network of keras.applications, with random weights, without the top
and at the smallest image that nearly all of them take.
"""

import inspect
import pathlib

import keras

from keras_senet.surgery import places
from keras_senet.utils.files import write_json

GOLDEN = (
    pathlib.Path(__file__).parents[1]
    / "tests"
    / "goldens"
    / "surgery"
    / "graft_places.json"
)
_SIZE = 75


def networks() -> list[str]:
    """Returns the names of all constructors of keras.applications."""
    constructors = inspect.getmembers(keras.applications, inspect.isfunction)
    return [name for name, _ in constructors]


def build(name: str, **kwargs) -> keras.Model:
    """Builds a network of keras.applications as cheaply as it can be."""
    kwargs = {"include_top": False, **kwargs}
    # NASNet checks the size that ImageNet's weights need, without them too.
    size = {"NASNetLarge": 331, "NASNetMobile": 224}.get(name, _SIZE)
    return getattr(keras.applications, name)(
        weights=None, input_shape=(size, size, 3), **kwargs
    )


def record(model: keras.Model) -> dict:
    """Returns the rule, the layers that SE follows and those that are skipped."""
    found = places(model)
    return {
        "rule": found[0].rule if found else None,
        "count": sum(not place.skipped for place in found),
        "after": [place.layer for place in found if not place.skipped],
        "skipped": [place.layer for place in found if place.skipped],
    }


def main():
    """Rewrites the golden."""
    records = {}
    for name in networks():
        keras.backend.clear_session()
        records[name] = record(build(name))
        print(name, records[name]["rule"], records[name]["count"], flush=True)
    write_json(GOLDEN, records, overwrite=True)


if __name__ == "__main__":
    main()
