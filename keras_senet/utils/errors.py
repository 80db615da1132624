"""What error messages share."""

import difflib
from collections.abc import Iterable


def nearest(name: str, options: Iterable[str]) -> str:
    """Returns " Did you mean 'x'?" for the nearest of `options`, or ""."""
    matches = difflib.get_close_matches(str(name), list(options), n=1)
    return f" Did you mean {matches[0]!r}?" if matches else ""
