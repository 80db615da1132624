"""What is known of every network without building it."""

import functools
import json
from importlib import resources
from typing import Any


@functools.cache
def known_networks() -> dict[str, dict[str, Any]]:
    """Returns name -> constructor, input shape, classes and costs, in their order.

    The costs are those of the default form with SE. `scripts/make_goldens.py` writes
    the table.
    """
    file = resources.files("keras_senet.utils") / "networks.json"
    return json.loads(file.read_text(encoding="utf-8"))
