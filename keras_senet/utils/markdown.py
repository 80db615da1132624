"""Markdown: names in it are data, and tables."""

import re
from collections.abc import Iterable, Sequence

from keras_senet.utils.names import visible


def in_markdown(name: str) -> str:
    """Returns a name for a line or a table's cell of Markdown, which shows it as is."""
    line = visible(" ".join(name.split()))
    return re.sub(r"[\\`*\[\]<>|~&$]|(?<!\w)_|_(?!\w)", r"\\\g<0>", line)


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence]) -> str:
    """Returns a table, whose cells are shown as they are.

    ">" before the name of a column aligns it right.
    """
    lines = [
        [column.removeprefix(">") for column in columns],
        ["--:" if column.startswith(">") else "---" for column in columns],
        *([in_markdown(str(cell)) for cell in row] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
