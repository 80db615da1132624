"""Names of classes, files and layers are data: wherever they stand, they do nothing."""

import re

# Control characters but for the line break and the tab, other ends of lines, and the
# marks that turn the direction of text.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)
# What begins a formula; the last four are full-width letters.
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


def visible(text: str) -> str:
    r"""Returns a text for the terminal: `\x1b` stands for an escape character."""
    return _CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)


def in_csv(value):
    """Returns a cell of a table for spreadsheets: no text of it is a formula."""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
