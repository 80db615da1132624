"""Saves networks as folders, and converts timm, PyTorch and Keras checkpoints."""

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_senet import weights as weights_room
from keras_senet.containers import CONFIG, WEIGHTS
from keras_senet.models import CONSTRUCTORS, constructor_of, network_of
from keras_senet.models.registry import pooling_of
from keras_senet.opening import load_folder
from keras_senet.utils.errors import checked_labels
from keras_senet.utils.files import atomic_path, sha256, write_json
from keras_senet.utils.graph import data_format
from keras_senet.utils.markdown import in_markdown, markdown_table
from keras_senet.version import __version__
from keras_senet.weights.repository import SCHEME, parse_address

README = "README.md"
MARK = "library_name: keras_senet"  # in the head of a card


def save_pretrained(
    model: keras.Model,
    folder: str | os.PathLike,
    *,
    labels: list[str] | tuple[str, ...] | None = None,
    description: str = "",
    licence: str = "",
    overwrite: bool = False,
    push_to_hub: str | None = None,
    private: bool | None = None,
    token: str | bool | None = None,
) -> Path:
    """Writes a network as a folder in the layout of the Hugging Face hub.

    The folder has config.json (constructor, architecture row, preprocessing, labels),
    model.weights.h5 and README.md, the model card. You can upload it as it is.

    Args:
        model: A network that a keras_senet constructor made.
        folder: The new folder.
        labels: Class names, in the order of the outputs. By default those of the card.
        description: A text on the training and its data, for the model card.
        licence: SPDX identifier of the weights' licence, for the model card.
        overwrite: Whether an existing folder is replaced.
        push_to_hub: "user/model" or "user/model@branch": the repository for the upload.
            It is created if it does not exist.
        private: Whether a new repository is private. None is the hub's default.
        token: Token of the hub. By default that of the login on this machine.

    Returns:
        The path of the folder.

    Raises:
        ImportError: If huggingface_hub is not installed, for an upload.
        OSError: If the upload fails; the folder stays.
        ValueError: If the folder exists, the model was not made by a keras_senet
            constructor, or there are more or fewer labels than classes.

    Example:

    >>> keras_senet.save_pretrained(model, "mine").name
    'mine'
    """
    target = None if push_to_hub is None else _repository(push_to_hub, token=token)
    changes = {"licence": licence} if licence else {}
    if labels is not None:
        changes["labels"] = checked_labels(labels)
    card = weights_room.network_card(model, **changes)
    with atomic_path(folder, overwrite=overwrite, what="folder") as temporary:
        temporary.mkdir()
        weights_room.save_weights(model, temporary / WEIGHTS, card)
        pooling = None if card.include_top else pooling_of(model)
        facts = {"pooling": pooling, "data_format": data_format(model)}
        config = {"library_name": "keras_senet", **card.to_json(), **facts}
        write_json(temporary / CONFIG, config)
        readme = _readme(model.name, card, description)
        (temporary / README).write_text(readme, encoding="utf-8")
    if target is not None:
        target.upload(Path(folder), private=private)
    return Path(folder)


def load_pretrained(
    folder: str | os.PathLike,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    **kwargs: Any,
) -> keras.Model:
    """Loads a network that `save_pretrained` wrote.

    Args:
        folder: The folder; the main revision of a repository in the hub's local cache
            (`models--NAME--MODEL`); or, if there is no such folder, "user/model" on
            the hub.
        revision: A branch, a tag or a commit of the repository on the hub.
        token: Token of the hub. By default that of the login on this machine.
        **kwargs: Arguments of the constructor, such as `include_top=False`. An argument
            that contradicts the file raises an error.

    Returns:
        The network. Its `card` has the labels, the licence and the preprocessing. If
        the saved network normalizes images itself, this one does too.

    Raises:
        FileNotFoundError: If the folder or one of its files does not exist.
        ImportError: If huggingface_hub is not installed, for a repository on the hub.
        OSError: If the repository cannot be downloaded; the message says why.
        ValueError: If `save_pretrained` did not write the config.

    Example:

    >>> folder = keras_senet.save_pretrained(model, "mine")
    >>> keras_senet.load_pretrained(folder).card.classes
    10
    """
    return load_folder(_fetched(folder, revision, token), **kwargs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conversion:
    """What `convert` wrote.

    Attributes:
        path: The file.
        card: Its model card.
        constructor: The network.
        layout: The layout of the source.
        relative_error: Between the network with the source's weights and the one with
            the file's, on random images.
    """

    path: Path
    card: Path
    constructor: str
    layout: str
    relative_error: float


def convert(
    source: str | os.PathLike,
    target: str | os.PathLike,
    *,
    model: str | None = None,
    overwrite: bool = False,
    **architecture: Any,
) -> Conversion:
    """Converts a timm, PyTorch or Keras checkpoint, and writes a model card beside it.

    If the preprocessing of the source is known, a .keras file takes raw images, 0..255,
    and a .weights.h5 file keeps the values for `include_preprocessing=True`.

    Args:
        source: A preset, or a .safetensors, .pth, .h5, .keras or .weights.h5 file.
        target: A path that ends in ".weights.h5" or ".keras"; the card's is the same
            with ".md".
        model: The name of the network (`keras_senet.list_models`), if it does not
            follow from the source.
        overwrite: Whether existing files are replaced.
        **architecture: Arguments of the constructor that do not follow from the source.

    Raises:
        ValueError: If the source is not recognised or the target cannot be written.
    """
    target = Path(target)
    endings = {
        ".weights.h5": weights_room.save_weights,
        ".keras": weights_room.save_model,
    }
    ending = next((e for e in endings if target.name.endswith(e)), None)
    if ending is None:
        raise ValueError(
            "`target` must end in '.weights.h5' or '.keras'. "
            f"Received: target={str(target)!r}"
        )
    card_path = target.with_name(target.name.removesuffix(ending) + ".md")
    # The card is there first, so that a card without its file is a killed one's.
    alone = _is_card(card_path) and not target.exists()
    checkpoint = weights_room.open_checkpoint(source, model)
    known = checkpoint.card
    name = model or network_of(known)
    if name is None:
        raise ValueError(
            "`model` must name the network, because the file does not. Received: "
            f"model=None. Use one of: {', '.join(CONSTRUCTORS)}"
        )
    arguments = {
        "include_top": known.include_top,
        "include_preprocessing": known.preprocessing or False,
        **architecture,
    }
    network = constructor_of(name)(weights=source, **arguments)
    with (
        atomic_path(target, overwrite=overwrite) as temporary,
        atomic_path(card_path, overwrite=overwrite or alone, what="card") as card,
    ):
        endings[ending](network, temporary)
        error = _difference(network, temporary, arguments, name)
        facts = {
            "source": os.fspath(source),
            "layout of the source": checkpoint.layout,
            "sha256 of the source": checkpoint.path and sha256(checkpoint.path),
            "sha256 of this file": sha256(temporary),
            "relative error to the source's network": f"{error:.1e}",
        }
        facts = {name: fact for name, fact in facts.items() if fact is not None}
        preset = weights_room.find_preset(known.preset or "")
        if preset and preset.accuracy:
            accuracy = preset.accuracy
            facts["published top-1"] = f"{accuracy.top1} % ({accuracy.source})"
        readme = _readme(network.name, network.card, "", facts)
        card.write_text(readme, encoding="utf-8")
    return Conversion(
        path=target,
        card=card_path,
        constructor=name,
        layout=checkpoint.layout,
        relative_error=error,
    )


def _is_card(path):
    """Whether a file is a card that this module wrote."""
    try:
        with path.open("rb") as file:
            return MARK.encode() in file.read(4096)
    except OSError:
        return False


def _difference(network, path, arguments, name):
    """Reads the file back and compares logits on random images."""
    copy = constructor_of(name)(weights=path, **arguments)
    shape = [size or 224 for size in network.input_shape[1:]]
    images = np.random.default_rng(0).normal(0, 1, (2, *shape)).astype("float32")
    if network.card.normalises:
        images = 255 * np.abs(np.tanh(images))
    a, b = (keras.ops.convert_to_numpy(m(images)) for m in (copy, network))
    return float(np.max(np.abs(a - b)) / np.max(np.abs(b)))


def _fetched(folder, revision, token):
    """The folder itself, or that of a repository's files in the hub's cache."""
    name = os.fspath(folder)
    is_name = re.fullmatch(r"[\w-][\w.-]*/[\w.-]+(@.+)?", name)
    if not name.startswith(SCHEME) and (Path(name).exists() or not is_name):
        if revision is not None:
            raise ValueError(
                "`revision` is only for a repository on the hub, 'user/model'. "
                f"Received: revision={revision!r} for the folder {name!r}"
            )
        return _snapshot(Path(name))
    repository = _repository(name, revision=revision, token=token)
    missing = "" if name.startswith(SCHEME) else f"There is no folder {name!r}; "
    try:
        config = repository.fetch_config()
        if config is None:
            raise FileNotFoundError(f"{repository} has no {CONFIG}")
        # A commit, so that both files are of one even if another is pushed meanwhile.
        commit = dataclasses.replace(repository, revision=config.parent.name)
        return commit.fetch(WEIGHTS).parent
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{missing}{error}, so save_pretrained did not write it. Weights of timm "
            f"are loaded with keras_senet.create_model({str(repository)!r})"
        ) from None
    except (OSError, ImportError) as error:
        kind = ImportError if isinstance(error, ImportError) else OSError
        raise kind(f"{missing}{error}") from None


def _repository(address, **fields):
    repository, file = parse_address(address)
    if file or (repository.revision and fields.get("revision")):
        raise ValueError(
            "A repository on the hub must be 'user/model' or 'user/model@revision', "
            f"with only one revision. Received: {address!r}"
        )
    fields = {name: value for name, value in fields.items() if value is not None}
    return dataclasses.replace(repository, **fields)


def _snapshot(folder):
    """The main revision, where the folder is a repository of the hub's cache."""
    main = folder / "refs" / "main"
    if not main.is_file():
        return folder
    with main.open("rb") as file:
        name = file.read(256).decode(errors="replace").strip()
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError(
            f"{str(main)!r} must hold the name of a folder in "
            f"{str(folder / 'snapshots')!r}. Received: {name!r}"
        )
    return folder / "snapshots" / name


def _readme(name, card, description, facts=None):
    """A model card: what the hub reads from its head, then text for people."""
    licence = f"license: {card.licence.lower()}\n" if card.licence else ""
    if card.licence and not re.fullmatch(r"[\w.+-]+", card.licence, re.ASCII):
        licence = f"license: other\nlicense_name: {json.dumps(card.licence)}\n"
    text = f"{description}\n\n" if description else ""
    rows = {
        "constructor": card.constructor,
        "input": " x ".join(str(n or "any") for n in card.input_shape),
        **({"classes": card.classes} if card.include_top else {}),
        "licence": card.licence or "not stated",
        **(facts or {}),
    }
    record = card.preprocessing
    how = f": mean {record.mean}, std {record.std}" if record else ""
    images = f"Images must be normalised before they are given to the network{how}."
    if card.normalises:
        kind = "grey" if 1 in card.input_shape else "RGB"
        images = f"The network takes raw {kind} images, 0..255, and normalises them"
        images += f" itself{how} on 0..1." if record else " itself."
    return f"""\
---
{MARK}
pipeline_tag: image-{"classification" if card.include_top else "feature-extraction"}
{licence}tags:
- keras
- squeeze-and-excitation
---

# {in_markdown(name)}

{text}{markdown_table(("", ""), rows.items())}

{images}
`keras_senet` turns photographs as their EXIF orientation says; a SavedModel of the
network does not.

Architecture:

```json
{json.dumps(card.architecture.to_json())}
```

Written by keras_senet {__version__}.
"""
