"""What MkDocs needs beside docs/: pages made of files elsewhere, and the reference.

README.md is the start page. The READMEs of programs and of shipped weights are pages,
and so are the notebooks. The reference has a page for each room with its public names,
read from the package. Links between files of the repository become links of the site.
"""

import ast
import json
import posixpath
import re
from pathlib import Path

import griffe
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
ROOMS = (
    "layers",
    "models",
    "weights",
    "data",
    "training",
    "evaluation",
    "export",
    "surgery",
    "analysis",
    "preprocessing",
    "card",
    "runners",
    "opening",
    "hub",
)
_LINK = re.compile(r"(?<=\]\()([^)#:\s]+)(#[^)\s]*)?(?=\))")
# Constructors have the pages of their families.
_FAMILIES = re.compile(r"keras_senet\.models\.(se_\w+|senet|regnet|resnet_rs)$")


def sources() -> dict[str, str]:
    """Returns file in the repository -> page of the site, of those outside docs/."""
    found = {
        "README.md": "index.md",
        "CONTRIBUTING.md": "contributing.md",
        "CHANGELOG.md": "changelog.md",
        "SECURITY.md": "security.md",
        "keras_senet/data/NOTICE.md": "data-notice.md",
    }
    for folder in ("applications", "saved_models"):
        for path in sorted((ROOT / folder).glob("*/README.md")):
            name = path.relative_to(ROOT).as_posix()
            found[name] = f"{folder}/{path.parent.name}.md"
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        found[f"notebooks/{path.name}"] = f"notebooks/{path.stem}.md"
    for path in sorted(ROOT.glob("applications/*/*.png")):
        name = path.relative_to(ROOT).as_posix()
        found[name] = name
    return found


def public_names() -> dict[str, list[str]]:
    """Returns room -> the full paths of its public names."""
    rooms: dict[str, list[str]] = {room: [] for room in ROOMS}
    stubs, seen = [], set()
    for room in ROOMS:
        folder = ROOT / "keras_senet" / room
        for name in ("__init__.pyi", "__init__.py"):
            if (folder / name).exists():
                stubs.append((f"keras_senet.{room}", folder / name))
                break
    stubs.append(("keras_senet", ROOT / "keras_senet" / "__init__.pyi"))
    for package, path in stubs:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue
            module = f"{package}.{node.module}" if node.level else node.module
            room = module.split(".")[1] if "." in module else ""
            for alias in node.names:
                full = f"{module}.{alias.name}"
                if room not in rooms or _FAMILIES.match(module) or alias.name in seen:
                    continue
                if alias.name[0] != "_" and not alias.name.isupper():
                    rooms[room].append(full)
                    seen.add(alias.name)
    return rooms


def reference(room: str, names: list[str]) -> str:
    """Returns the page of a room."""
    parts = [f"# keras_senet.{room}"]
    if room == "models":
        parts.append(
            "The constructors are on the pages of their [families](../networks.md)."
        )
    return "\n\n".join([*parts, *(f"::: {name}" for name in names)]) + "\n"


def notebook(text: str) -> str:
    """Returns a notebook's cells as a page."""
    parts = []
    for cell in json.loads(text)["cells"]:
        body = "".join(cell["source"])
        code = cell["cell_type"] == "code"
        parts.append(f"```python\n{body}\n```" if code else body)
    return "\n\n".join(parts) + "\n"


def _relinked(text: str, source: str, page: str, known: dict[str, str]) -> str:
    def replaced(match):
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[1]))
        if target in known:
            path = posixpath.relpath(known[target], posixpath.dirname(page) or ".")
            return path + (match[2] or "")
        return match[0]

    text = _LINK.sub(replaced, text)

    def unlinked(match):
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page), match[2]))
        return match[0] if target in known.values() else match[1]

    # What is in the repository, and not on the site, is named without a link.
    return re.sub(r"(?<!!)\[([^]]+)\]\(([^)#:\s]+)\)", unlinked, text)


def _known() -> dict[str, str]:
    inside = {
        f"docs/{path.relative_to(ROOT / 'docs').as_posix()}": path.relative_to(
            ROOT / "docs"
        ).as_posix()
        for path in (ROOT / "docs").rglob("*")
        if path.is_file()
    }
    return {**inside, **sources()}


def on_config(config):
    """Completes the navigation."""
    titles = {"tutorials": "notebooks/", "weights here": "saved_models/"}
    pages = [page for page in sources().values() if page.endswith(".md")]
    lists = {
        key: [page for page in pages if page.startswith(start)]
        for key, start in {**titles, "programs": "applications/"}.items()
    }
    lists["families"] = sorted(
        f"families/{path.name}" for path in (ROOT / "docs/families").glob("*.md")
    )
    lists["reference"] = [f"reference/{room}.md" for room in ROOMS]

    def completed(entries):
        for entry in entries:
            if isinstance(entry, dict):
                for title, value in entry.items():
                    if isinstance(value, list):
                        completed(value)
                    elif value in lists:
                        entry[title] = lists[value]

    completed(config.nav)
    return config


def on_files(files, config):
    """Adds the pages that are not in docs/."""
    for source, page in sources().items():
        path = ROOT / source
        if page.endswith(".png"):
            content = path.read_bytes()
        else:
            content = path.read_text("utf-8")
            content = notebook(content) if source.endswith(".ipynb") else content
        files.append(File.generated(config, page, content=content))
    for room, names in public_names().items():
        text = reference(room, names)
        files.append(File.generated(config, f"reference/{room}.md", content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turns links between files of the repository into links of the site."""
    known = _known()
    here = page.file.src_uri
    back = {value: key for key, value in known.items()}
    return _relinked(markdown, back.get(here, f"docs/{here}"), here, known)


class Examples(griffe.Extension):
    """Shows the examples of docstrings as code, as Keras writes them: unindented."""

    def on_instance(self, *, obj, **_):
        """Fences the lines from each `>>>` up to the next empty one."""
        if obj.docstring is not None:
            text = re.sub(r"(?m)^Examples?:$", "**Example**", obj.docstring.value)
            block = re.compile(r"(?m)^( *)(>>> .*(?:\n *\S.*)*)")
            obj.docstring.value = block.sub(r"\1```pycon\n\1\2\n\1```", text)
