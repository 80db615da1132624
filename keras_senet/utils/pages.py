"""Pages of which programs write a part."""

import os
from pathlib import Path

from keras_senet.utils.files import atomic_path


def read_block(page: str | os.PathLike, name: str) -> tuple[str, str, str]:
    """Returns what stands before two marks of a page, between and behind them.

    They are `<!-- NAME -->` and, behind it, `<!-- end of the NAME -->`, each once.
    """
    begin, end = f"<!-- {name} -->", f"<!-- end of the {name} -->"
    content = Path(page).read_text(encoding="utf-8")
    before, *rest = content.split(begin)
    parts = rest[0].split(end) if len(rest) == 1 else []
    if len(parts) != 2:
        raise ValueError(
            f"The page must have the marks {begin!r} and, behind it, {end!r}, each "
            f"once. Received: {str(page)!r}, which has not."
        )
    return before + begin, parts[0].strip(), end + parts[1]


def write_block(page: str | os.PathLike, name: str, text: str) -> None:
    """Writes a text between two marks of a page, as `read_block` finds them."""
    before, _, after = read_block(page, name)
    with atomic_path(page, overwrite=True) as temporary:
        written = f"{before}\n\n{text.strip()}\n\n{after}"
        temporary.write_text(written, encoding="utf-8")
