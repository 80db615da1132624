"""What the verbs print: a console and tables."""

import re
import sys
from collections.abc import Iterable, Sequence

from keras_senet.utils.names import visible


def make_console():
    """Returns a rich console on the standard output.

    Where the output is no terminal, lines are long enough for a table, and others are
    not broken.
    """
    from rich.console import Console
    from rich.text import Text

    width = None if sys.stdout.isatty() else 120

    class NamesAreData(Console):
        def print(self, *objects, **options):
            if width and all(isinstance(o, (str, Text)) for o in objects):
                options.setdefault("soft_wrap", True)
            texts = (visible(o) if isinstance(o, str) else o for o in objects)
            super().print(*texts, **options)

        def on_broken_pipe(self):  # rich would end the process with 1
            raise

    return NamesAreData(width=width, highlight=False, markup=False)


def print_table(
    console, title: str, columns: Sequence[str], rows: Iterable[Sequence]
) -> None:
    """Prints a table on a rich console.

    ">" before a column's name aligns it right. Such columns are never broken, only
    their names are. Without a name, there is no head. Cells are plain or rich texts.
    """
    from rich.text import Text

    cells = [[Text(_line(c)) if isinstance(c, str) else c for c in r] for r in rows]
    # Where nothing wraps, a column is one cell of many lines: rich takes a third of a
    # second for the cells of a long list.
    joined = [Text("\n").join(column) for column in zip(*cells, strict=True)]
    table = _table(columns, [joined] if cells else cells)
    widest = console.options.update(width=1000)
    if console.measure(table, options=widest).maximum > console.width:
        broken = [re.sub(r" |(?<=-)(?=\w\w)", "\n", column) for column in columns]
        table = _table(broken, cells, pad_edge=False, collapse_padding=True)
    console.print(Text(visible(title), style="bold"))
    console.print(table)


def _table(columns, cells, **options):
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_header=any(columns), **options)
    for column in columns:
        right = column.startswith(">")
        table.add_column(
            column.lstrip(">"),
            justify="right" if right else "left",
            no_wrap=right,
            overflow="fold",
        )
    for row in cells:
        table.add_row(*row)
    return table


def _line(cell):
    return visible(cell).replace("\n", r"\n")
