"""Pages of which programs write a part."""

import os
from pathlib import Path

from keras_senet.utils.files import atomic_path


def write_block(page: str | os.PathLike, name: str, text: str) -> None:
    """Writes a text between two marks of a page; the rest of it stays as it is.

    Args:
        page: A file with `<!-- NAME -->` and, behind it, `<!-- end of the NAME -->`.
        name: What the marks are called.
        text: What stands between them from now on.

    Raises:
        ValueError: If the page does not have these marks, each once.
    """
    begin, end = f"<!-- {name} -->", f"<!-- end of the {name} -->"
    content = Path(page).read_text(encoding="utf-8")
    before, *rest = content.split(begin)
    after = rest[0].split(end) if len(rest) == 1 else []
    if len(after) != 2:
        raise ValueError(
            f"The page must have the marks {begin!r} and, behind it, {end!r}, each "
            f"once. Received: {str(page)!r}, which has not."
        )
    with atomic_path(page, overwrite=True) as temporary:
        written = f"{before}{begin}\n\n{text.strip()}\n\n{end}{after[1]}"
        temporary.write_text(written, encoding="utf-8")
