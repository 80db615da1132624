"""What error messages and the checks before them share."""

import difflib
import operator
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

# What others call it.
_ALIASES = {
    "bf16": "bfloat16",
    "float32": "none",
    "fp16": "float16",
    "fp32": "float32",
    "ratio": "reduction",
}


def nearest(name: str, options: Iterable[str]) -> str:
    """Returns " Did you mean 'x'?" for the nearest of `options`, or ""."""
    options, plain = list(options), _plain(name)
    same = [o for o in options if _plain(o) in (plain, _ALIASES.get(plain))]
    matches = same or difflib.get_close_matches(str(name), options, n=1)
    return f" Did you mean {matches[0]!r}?" if matches else ""


def _plain(name):
    """A name without what differs between a class and a function, SEResNet50."""
    return str(name).lower().replace("_", "")


def check_known(name: str, known: Iterable[str], rule: str) -> None:
    """Raises a ValueError that begins with the rule unless a name is a known one."""
    if name not in known:
        raise ValueError(f"{rule}. Received: {name!r}.{nearest(name, known)}")


def not_installed(what: str, error: ImportError, *packages: str) -> ImportError:
    """Returns the error for a package that is missing, with what to install.

    `what`, in the plural, needs it; `packages` are all of the purpose, as pip has them.
    """
    return ImportError(
        f"{what} need the package {error.name}, which is not installed. Install it: "
        f"pip install {' '.join(packages)}"
    )


def short(value: object) -> str:
    """Returns the repr of a value, cut where it is longer than a line of a message."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def explained_lookup(package: str, lookup: Callable[[str], Any]) -> Callable:
    """Returns a lazy package's `__getattr__`, which says how to get what is missing."""

    def find(name):
        try:
            return lookup(name)
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] != "tensorflow":
                raise
            raise ImportError(
                f"{package}.{name} needs TensorFlow: python -m pip install tensorflow"
            ) from error

    return find


def require(holds: bool, rule: str, **received: Any) -> None:
    """Raises a ValueError about the first of the values received unless a rule holds.

    Args:
        holds: Whether it does.
        rule: What the value must do: "be an integer from 0".
        **received: The values by their names, for the message.
    """
    if not holds:
        values = ", ".join(f"{name}={value!r}" for name, value in received.items())
        raise ValueError(f"`{next(iter(received))}` must {rule}. Received: {values}.")


def as_integer(name: str, value: object, remedy: str = "") -> int:
    """Returns a positive whole number of any kind, NumPy's for one, as an int.

    Anything else, True too, raises a ValueError: of the argument `name`, with `remedy`.
    """
    if not is_integer(value, 1):
        raise ValueError(
            f"`{name}` must be a positive integer. Received: {name}={value!r}."
            f" {remedy}".rstrip()
        )
    return operator.index(value)


def checked_labels(labels: Iterable[object]) -> tuple[str, ...]:
    """Returns class names as texts; raises a ValueError if they are a single text."""
    if isinstance(labels, str):
        raise ValueError(f"`labels` must be a list of names. Received: {labels!r}")
    return tuple(map(str, labels))


def integer_or_none(value: object) -> int | None:
    """Returns a whole number of any kind as an int, and None for anything else."""
    if type(value).__name__ in ("bool", "bool_"):  # NumPy's has both names
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def is_integer(value: object, least: int = 0) -> bool:
    """Whether a value is a whole number of any kind from `least` on; True is none."""
    number = integer_or_none(value)
    return number is not None and number >= least


def check_ending(path: str | os.PathLike, ending: str) -> None:
    """Raises unless a path has the ending of what is to be written."""
    if Path(path).suffix != ending:
        raise ValueError(
            f"The path must end in {ending!r}. Received: path={str(path)!r}"
        )


def check_counts(**counts: int | None) -> None:
    """Raises if one is not a positive integer; `limit` may be None."""
    for name, value in counts.items():
        if not (name == "limit" and value is None):
            as_integer(name, value)


def checked_size(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """Returns (height, width)."""
    size = image_size
    if not isinstance(size, tuple | list) and not getattr(size, "shape", ()):
        size = (size, size)
    sides = tuple(integer_or_none(side) or 0 for side in size)
    if len(sides) != 2 or min(sides) < 1:
        raise ValueError(
            "`image_size` must be a positive integer or two, (height, width). "
            f"Received: image_size={image_size!r}."
        )
    return sides


def checked_data_format(data_format: str | None) -> str:
    """Returns a data format, for None Keras' setting."""
    if data_format is None:
        import keras

        return keras.config.image_data_format()
    if data_format not in ("channels_last", "channels_first"):
        raise ValueError(
            "`data_format` must be 'channels_last', 'channels_first' or None. "
            f"Received: data_format={data_format!r}"
        )
    return data_format


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, or its class where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def damaged(path: str | os.PathLike, error: BaseException) -> ValueError:
    """Returns the error for a file that a library cannot read, with its reason."""
    return ValueError(
        f"{str(path)!r} cannot be read. It may be truncated or damaged: "
        f"{first_line(error)[:200]}"
    )
