"""Images with several labels each, listed in a CSV file, as a source."""

import csv
import os
import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from keras_senet.data.files import composed, open_files, path_finder, split_folders
from keras_senet.data.source import Source

TABLE = "labels.csv"
_FILE_COLUMNS = ("file", "filename", "image")
_LABELS_COLUMN = "labels"
_SEPARATORS = re.compile("[;,|]")
_BINARY = {"0": False, "1": True, "0.0": False, "1.0": True}
_EXPECTED = (
    "It needs a column 'file', 'filename' or 'image'. It also needs a column 'labels' "
    "with names separated by ; , or | or a column of 0 and 1 for each label."
)


def find_tables(path: Path) -> dict[str, Path]:
    """Returns the CSV file of each split, "train" alone where nothing is held out.

    It is `path` itself, `labels.csv` in this folder, or one in each of its folders
    train/ and test/ (or val/). Of anything else there are none.

    Raises:
        ValueError: If train/ has such a file and a held-out folder has none.
    """
    if path.is_file():
        return {"train": path} if path.suffix.lower() == ".csv" else {}
    if not path.is_dir():
        return {}
    if (path / TABLE).is_file():
        return {"train": path / TABLE}
    tables = {split: folder / TABLE for split, folder in split_folders(path).items()}
    if "train" not in tables or not tables["train"].is_file():
        return {}
    missing = [str(table) for table in tables.values() if not table.is_file()]
    if missing:
        raise ValueError(
            f"Each part of the data must have its {TABLE}, as train/ has one. "
            f"Missing: {', '.join(missing)}. Add it, or remove the folder."
        )
    return tables


def open_tables(
    name: str | os.PathLike,
    tables: Mapping[str, Path],
    *,
    on_error: str,
    held_out: float,
) -> Source:
    """Opens what `find_tables` returned; see `keras_senet.data.open_source`."""
    read = {split: _read(table) for split, table in tables.items()}
    class_names = read["train"].names
    if not class_names:
        raise ValueError(f"{str(tables['train'])!r} names no label. {_EXPECTED}")
    listed, find = {}, path_finder()
    for split, table in read.items():
        wrong = set(table.names) - set(class_names)
        if table.has_columns:  # whose absence is no zero
            wrong |= set(class_names) - set(table.names)
        if wrong:
            raise ValueError(
                f"{str(tables[split])!r} and {str(tables['train'])!r} must have the "
                f"same labels. Received: {sorted(wrong)[:5]}, which are in only one of "
                "them."
            )
        listed[split] = [
            (
                find(tables[split].parent / file),
                tuple(float(n in labels) for n in class_names),
            )
            for file, labels in table.rows.items()
        ]
    path = Path(name).expanduser()
    return open_files(
        str(name),
        path if path.is_dir() else path.parent,
        listed,
        class_names=class_names,
        on_error=on_error,
        held_out=held_out,
        multi_label=True,
    )


class _Table(NamedTuple):
    """What a CSV file says: the labels in their order, and each file's."""

    names: tuple[str, ...]
    has_columns: bool
    rows: dict[str, set[str]]


def _read(path: Path) -> _Table:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            delimiter = max(",;\t", key=file.readline().count)
            file.seek(0)
            lines = csv.reader(file, delimiter=delimiter)
            header = [composed(column.strip()) for column in next(lines, [])]
            lines = [(lines.line_num, line) for line in lines if any(line)]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(
            f"{str(path)!r} must be a CSV file in UTF-8: {error}"
        ) from error
    files = [i for i, name in enumerate(header) if name.lower() in _FILE_COLUMNS]
    others = [name for i, name in enumerate(header) if i not in files]
    if [name.lower() for name in others] == [_LABELS_COLUMN]:
        others = [_LABELS_COLUMN]
    listed = _LABELS_COLUMN in others
    if len(files) != 1 or not others or "" in others or len(set(others)) < len(others):
        raise ValueError(
            f"{str(path)!r} must list images and their labels. {_EXPECTED} "
            f"Received: the columns {header}."
        )
    if listed and len(others) > 1:
        others.remove(_LABELS_COLUMN)
        raise ValueError(
            f"{str(path)!r} has unknown columns beside 'labels': {others[:5]}. "
            f"{_EXPECTED}"
        )
    rows, seen = {}, {}
    for number, line in lines:
        where = f"Line {number} of {str(path)!r}"
        if len(line) != len(header):
            raise ValueError(
                f"{where} must have {len(header)} cells. Received: {len(line)}."
            )
        cells = [cell.strip() for cell in line]
        file = posixpath.normpath(cells.pop(files[0]).replace("\\", "/"))
        if file == ".":
            raise ValueError(
                f"{where} must name an image file. Received: an empty cell."
            )
        name = composed(file)
        if name in seen:
            raise ValueError(
                f"{where} repeats {file!r} of line {seen[name]}. Each image must have "
                "one line with all its labels."
            )
        seen[name] = number
        if listed:
            names = map(str.strip, _SEPARATORS.split(composed(cells[0])))
            rows[file] = {*names} - {""}
            continue
        for column, cell in zip(others, cells, strict=True):
            if cell not in _BINARY:
                raise ValueError(
                    f"{where} must have 0 or 1 in column {column!r}. Received: "
                    f"{cell!r}."
                )
        rows[file] = {n for n, c in zip(others, cells, strict=True) if _BINARY[c]}
    names = sorted(set().union(*rows.values())) if listed else others
    return _Table(tuple(names), not listed, rows)
