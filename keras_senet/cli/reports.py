"""What several verbs share: a new folder, real images, and a table of files."""

from pathlib import Path

from keras_senet.cli.console import print_table


def check_new(output: Path | None) -> None:
    """Raises a ValueError if what a verb is to write exists, or lies in a file."""
    if output is None:
        return
    if output.exists():
        raise ValueError(
            "`output` must not exist yet. Received: "
            f"{str(output)!r}, which exists. Choose another path."
        )
    above = next(folder for folder in output.parents if folder.exists())
    if not above.is_dir():
        raise ValueError(
            "`output` must lie in a folder. Received: "
            f"{str(output)!r}, but {str(above)!r} is a file. Choose another path."
        )


def first_images(source, split, model, limit):
    """Returns images of a source as a model takes them, and their labels.

    The model is anything that `open_model` takes.

    Returns:
        A float32 array (N, H, W, C) and an array of N labels; None for the labels
        where the model has other classes than the source, or an image several.

    Raises:
        ValueError: If the model does not take one batch of images.
        OSError: If an image cannot be read.
    """
    import numpy as np

    from keras_senet.opening import open_model

    opened = open_model(model)
    card = opened.card
    if len(card.input_shape or ()) != 3:
        raise ValueError(
            "The verification needs a model that takes one batch of images (N, height, "
            f"width, channels). Received: {opened.name}, which takes "
            f"{card.input_shape and (None, *card.input_shape)}. Skip the verification "
            "with --images 0."
        )
    view = opened.view(source, default_size=224)
    images, labels = zip(*view.arrays(split, limit=limit), strict=True)
    known = not source.multi_label and has_classes(card, source.class_names)
    return np.concatenate(images), np.concatenate(labels) if known else None


def has_classes(card, names):
    """Whether a card's network has the classes of some data, by number and name."""
    try:
        return card.classes == len(card.check_names(names))
    except ValueError:
        return False


def print_verifications(console, reports, model_bytes=None):
    """Prints a table of `keras_senet.verify` reports of one model, and why one failed.

    `model_bytes` is the size of the model's own file, where there is one.
    """
    from rich.text import Text

    first = reports[0]
    size = "" if model_bytes is None else _megabytes(model_bytes)
    model = ("the Keras model", size, _percent(first.model_accuracy), "", "")
    model += (_milliseconds(first.model_latency), "")
    columns = ("file", ">size", ">top-1", ">same class", ">max. diff.", ">latency")
    columns += ("verdict",)
    title = f"Compared on {first.images:,} real images; latency is of one image"
    print_table(console, title, columns, [model, *map(_row, reports)])
    for report in reports:
        if not report.passed:
            console.print(Text(f"FAIL: {report.summary()}", style="bold red"))


def _row(report):
    from rich.text import Text

    verdict = Text("pass", "green") if report.passed else Text("FAIL", "bold red")
    return (
        report.file.rpartition("/")[2],
        _megabytes(report.size_bytes),
        _percent(report.file_accuracy),
        _percent(report.agreement),
        f"{report.max_difference:.1e}",
        _milliseconds(report.file_latency),
        verdict,
    )


def _megabytes(size):
    return f"{size / 1e6:.2f} MB"


def _percent(share):
    return "-" if share is None else f"{100 * share:.1f} %"


def _milliseconds(seconds):
    return "-" if seconds is None else f"{1000 * seconds:.2f} ms"
