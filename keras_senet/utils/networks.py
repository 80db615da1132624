"""What is known of every network without building it."""

import fnmatch
import functools
import json
from collections.abc import Iterable
from importlib import resources
from typing import Any

from keras_senet.utils.errors import check_known


@functools.cache
def known_networks() -> dict[str, dict[str, Any]]:
    """Returns name -> constructor, input shape, classes and costs, in their order.

    The costs are those of the default form with SE. `scripts/make_goldens.py` writes
    the table.
    """
    file = resources.files("keras_senet.utils") / "networks.json"
    return json.loads(file.read_text(encoding="utf-8"))


def matching_networks(pattern: str) -> list[str]:
    """Returns the networks whose name, or whose constructor's, has a shell pattern."""
    return [
        name
        for name, known in known_networks().items()
        if fnmatch.filter((name, known["constructor"]), pattern)
    ]


def check_network(name: str, networks: Iterable[str] | None = None) -> None:
    """Raises a ValueError unless a network, by default a known one, has the name."""
    networks = known_networks() if networks is None else networks
    check_known(name, networks, "The network must be one of keras_senet.list_models()")
