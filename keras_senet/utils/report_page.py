"""One HTML page for reports: it needs no server and no other file.

The answer stands first, then pictures, then tables. It follows the reader's light or
dark setting and the width of a phone.
"""

import base64
import html
from collections.abc import Sequence
from typing import NamedTuple

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
a { color: var(--accent); }
.answer, figure, .table { background: var(--surface); border: 1px solid var(--line);
  border-radius: 12px; padding: 1rem; margin: 1rem 0; overflow-x: auto; }
.answer { font-size: 1.15rem; } .answer p { margin: 0.3rem 0; max-width: 50rem; }
.soft, figcaption { color: var(--soft); } figcaption { max-width: 50rem; }
img { max-width: 100%; height: auto; background: #fff; border-radius: 6px; }
table { border-collapse: collapse; font-size: 0.85rem; width: 100%; }
th, td { padding: 3px 9px; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
"""


class Picture(NamedTuple):
    """A picture of a page.

    Attributes:
        png: The bytes of a PNG file.
        alt: What it shows, for readers who do not see it.
        text: What the reader learns from it.
    """

    png: bytes
    alt: str
    text: str


def report_page(
    title: str,
    answer: Sequence[str],
    *,
    about: str = "",
    files: Sequence[str] = (),
    pictures: Sequence[Picture] = (),
    tables: Sequence[tuple[str, Sequence[Sequence[str]]]] = (),
) -> str:
    """Returns a page as HTML. All texts are plain: they are escaped here.

    Args:
        title: Of the page.
        answer: The sentences that the reader wants first.
        about: What was measured.
        files: Names of files beside the page, which it links to.
        pictures: What is drawn.
        tables: Pairs of a heading and rows of cells, the head first.
    """
    text = html.escape
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{text(title)}</title><style>{_STYLE}</style></head><body>",
        f'<h1>{text(title)}</h1><div class="answer">',
        *(f"<p>{text(sentence)}</p>" for sentence in answer),
        f'<p class="soft">{text(about)}</p></div>',
    ]
    for picture in pictures:
        source = f"data:image/png;base64,{base64.b64encode(picture.png).decode()}"
        parts.append(
            f'<figure><img alt="{text(picture.alt)}" src="{source}">'
            f"<figcaption>{text(picture.text)}</figcaption></figure>"
        )
    for heading, (head, *rows) in tables:
        body = "".join(_row(row, "td") for row in rows)
        parts.append(
            f'<h2>{text(heading)}</h2><div class="table"><table>'
            f"{_row(head, 'th')}{body}</table></div>"
        )
    if files:
        links = ", ".join(f'<a href="{text(f)}">{text(f)}</a>' for f in files)
        parts.append(f"<p>The numbers as files: {links}</p>")
    return "\n".join([*parts, "</body></html>", ""])


def _row(cells, tag):
    cells = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)
    return f"<tr>{cells}</tr>"
