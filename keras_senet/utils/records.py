"""Records of what was measured, as JSON."""

import dataclasses
import json

import numpy as np


class Measured:
    """A dataclass of figures."""

    def to_json(self) -> str:
        """Returns all fields as a JSON object; a number that is not finite is null."""
        fields = _plain(dataclasses.asdict(self))
        return json.dumps(fields, indent=2, ensure_ascii=False)


def _plain(value):
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, (tuple, list, np.ndarray)):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
