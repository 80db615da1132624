"""Compares the results of several detectors in a table.

python applications/detection/table.py runs/detection-*
"""

import dataclasses
import json
import sys
from pathlib import Path

import tyro

from keras_senet.utils.markdown import markdown_table
from keras_senet.utils.pages import write_block


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """Prints the results of runs of one of the programs as a table.

    Attributes:
        runs: Run folders.
        page: A Markdown page; the table is written between its marks.
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    page: Path | None = None

    def run(self) -> None:
        rows = []
        for folder in self.runs:
            options, figures = (
                json.loads((folder / f"{name}.json").read_text("utf-8"))
                for name in ("options", "results")
            )
            network = options["model"] + ("" if options["se"] else " without SE")
            cells = [network, str(options["seed"]), str(options["epochs"])]
            rows.append([*cells, *(f"{100 * value:.1f}" for value in figures.values())])
        columns = ["network", ">seed", ">epochs", *(f">{name}" for name in figures)]
        text = markdown_table(columns, sorted(rows))
        print(text)
        if self.page is not None:
            write_block(self.page, "results", text)


if __name__ == "__main__":
    try:
        tyro.cli(Table).run()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
