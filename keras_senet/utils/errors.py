"""What error messages and the checks before them share."""

import difflib
import numbers
from collections.abc import Iterable


def nearest(name: str, options: Iterable[str]) -> str:
    """Returns " Did you mean 'x'?" for the nearest of `options`, or ""."""
    matches = difflib.get_close_matches(str(name), list(options), n=1)
    return f" Did you mean {matches[0]!r}?" if matches else ""


def check_counts(**counts: int | None) -> None:
    """Raises if one is not a positive integer; `limit` may be None."""
    for name, value in counts.items():
        if not is_positive_integer(value) and not (name == "limit" and value is None):
            raise ValueError(
                f"`{name}` must be a positive integer. Received: {name}={value!r}."
            )


def checked_size(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """Returns (height, width)."""
    size = image_size if isinstance(image_size, tuple | list) else (image_size,) * 2
    if len(size) != 2 or not all(is_positive_integer(side) for side in size):
        raise ValueError(
            "`image_size` must be a positive integer or a (height, width) of two. "
            f"Received: image_size={image_size!r}."
        )
    return tuple(size)


def is_positive_integer(value: object) -> bool:
    """Whether a value is a whole number above 0; True is none."""
    return (
        isinstance(value, numbers.Integral)
        and not isinstance(value, bool)
        and value > 0
    )
