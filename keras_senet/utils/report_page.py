"""Reports: one HTML page that needs no server and no other file, and the same as text.

The answer stands first, then pictures, then tables. The page follows the reader's light
or dark setting and the width of a phone.
"""

import base64
import dataclasses
import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from keras_senet.utils.files import atomic_path, write_csv
from keras_senet.utils.markdown import in_markdown, markdown_table

_STYLE = """
:root { color-scheme: light dark; --paper: #f4f1ea; --surface: #fffdf8;
  --ink: #201d19; --soft: #6a645a; --line: #e3dccf; --accent: #c23f16; }
@media (prefers-color-scheme: dark) { :root { --paper: #141210; --surface: #1d1a17;
  --ink: #f3eee5; --soft: #aaa194; --line: #37312a; --accent: #ff8a57; } }
* { box-sizing: border-box; }
body { max-width: 70rem; margin: 0 auto; padding: clamp(1rem, 4vw, 2.5rem);
  background: var(--paper); color: var(--ink); font-variant-numeric: tabular-nums;
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1, h2 { line-height: 1.15; letter-spacing: -0.02em; }
h1, p { overflow-wrap: anywhere; }
a { color: var(--accent); }
.answer, figure, .table { background: var(--surface); border: 1px solid var(--line);
  border-radius: 12px; padding: 1rem; margin: 1rem 0; overflow-x: auto; }
.answer { font-size: 1.15rem; } .answer p { margin: 0.3rem 0; max-width: 50rem; }
.soft, figcaption { color: var(--soft); } figcaption { max-width: 50rem; }
img { max-width: 100%; height: auto; background: #fff; border-radius: 6px; }
.wide { min-width: 36rem; }
table { border-collapse: collapse; font-size: 0.85rem; width: 100%; }
th, td { padding: 3px 9px; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
td + td { white-space: nowrap; }
"""


_WIDE = 700  # pixels


class Picture(NamedTuple):
    """A picture of a page."""

    png: bytes
    alt: str  # what it shows, for readers who do not see it
    text: str  # what the reader learns from it
    file: str = ""  # its name beside the page, for Markdown


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What a page shows. All texts are plain: what writes them escapes them.

    Attributes:
        title: Of the page.
        answer: The sentences that the reader wants first.
        about: What was measured.
        files: Names of files beside the page, which it links to.
        pictures: What is drawn.
        tables: Pairs of a heading and rows of cells, the head first.
    """

    title: str
    answer: Sequence[str]
    about: str = ""
    files: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[tuple[str, Sequence[Sequence[str]]]] = ()

    def to_html(self) -> str:
        """Returns the page."""
        text = html.escape
        parts = [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{text(self.title)}</title><style>{_STYLE}</style></head><body>",
            f'<h1>{text(self.title)}</h1><div class="answer">',
            *(f"<p>{text(sentence)}</p>" for sentence in self.answer),
            f'<p class="soft">{text(self.about)}</p></div>',
        ]
        for picture in self.pictures:
            source = f"data:image/png;base64,{base64.b64encode(picture.png).decode()}"
            # On a phone, a wide picture scrolls in its frame and stays legible.
            pixels = int.from_bytes(picture.png[16:20], "big")
            kind = ' class="wide"' if pixels > _WIDE else ""
            parts.append(
                f'<figure><img{kind} alt="{text(picture.alt)}" src="{source}">'
                f"<figcaption>{text(picture.text)}</figcaption></figure>"
            )
        for heading, (head, *rows) in self.tables:
            body = "".join(_row(row, "td") for row in rows)
            parts.append(
                f'<h2>{text(heading)}</h2><div class="table"><table>'
                f"{_row(head, 'th')}{body}</table></div>"
            )
        if self.files:
            links = ", ".join(f'<a href="{text(f)}">{text(f)}</a>' for f in self.files)
            parts.append(f"<p>Files beside this page: {links}</p>")
        return "\n".join([*parts, "</body></html>", ""])

    def to_markdown(self) -> str:
        """Returns the same as Markdown, with links to the pictures."""
        parts = [
            f"# {in_markdown(self.title)}",
            *map(in_markdown, self.answer),
            in_markdown(self.about),
        ]
        for picture in self.pictures:
            parts.append(f"![{in_markdown(picture.alt)}]({picture.file})")
        for heading, (head, *rows) in self.tables:
            columns = [head[0], *(f">{name}" for name in head[1:])]
            parts += [f"## {heading}", markdown_table(columns, rows)]
        parts.append(", ".join(f"[{file}]({file})" for file in self.files))
        return "\n\n".join(filter(None, parts)) + "\n"


def write_report_files(
    folder: Path, report: Report, classes: Sequence[Mapping]
) -> None:
    """Writes report.html for people, and report.md and classes.csv for programs.

    The folder exists; older files in it are replaced. `classes` are the figures of each
    class by name, see `as_text`, which the report does not have yet.
    """
    rows = [tuple(classes[0]), *(tuple(row.values()) for row in classes)]
    write_csv(folder / "classes.csv", rows)
    report = dataclasses.replace(
        report,
        tables=[("Each class", as_text(classes)), *report.tables],
        files=["classes.csv", *report.files],
    )
    texts = {"report.html": report.to_html(), "report.md": report.to_markdown()}
    for name, text in texts.items():
        with atomic_path(folder / name, overwrite=True) as path:
            path.write_text(text, encoding="utf-8")


def as_text(rows: Sequence[Mapping]) -> list[tuple[str, ...]]:
    """Returns a table of text, its head first: a float is a share, shown in percent."""

    def shown(value):
        if isinstance(value, float):
            return "-" if math.isnan(value) else f"{100 * value:.1f} %"
        return value if isinstance(value, str) else f"{value:,}"

    return [tuple(rows[0]), *(tuple(map(shown, row.values())) for row in rows)]


def _row(cells, tag):
    cells = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)
    return f"<tr>{cells}</tr>"
