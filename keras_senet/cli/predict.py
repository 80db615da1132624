"""`keras-senet predict`."""

import dataclasses
from pathlib import Path

from tyro.conf import Positional

import keras_senet
from keras_senet.cli.command import UsageError
from keras_senet.cli.console import make_console, print_table
from keras_senet.utils.errors import as_integer
from keras_senet.utils.files import read_json

# In pixels; smaller pictures are enlarged, to be looked at.
_LEAST_SIDE = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predict:
    """Names what is on images: the most probable classes of each image.

    For a model with several labels for each image, the command also shows all others
    with a probability above one half. For a model with one output, it shows that
    probability.

    Attributes:
        images: Image files.
        labels: A file with the class names, if the model has none: a JSON list, or one
            name in each line.
        top: How many classes to show, at least one.
        explain: Also write a picture of the parts of each image that support the first
            class, beside the photograph: cat.jpg.explained.png.

    Examples:
        keras-senet predict cat.jpg dog.jpg --model runs/photos
        keras-senet predict cat.jpg --model model.tflite --labels names.txt --top 3
    """

    images: Positional[tuple[str, ...]]
    model: str
    weights: str | None = None
    labels: Path | None = None
    top: int = 5
    explain: bool = False
    trust: bool = False

    def run(self) -> int:
        import numpy as np

        from keras_senet.data import read_image
        from keras_senet.views import view_images

        if not self.images:
            raise UsageError(
                "images are missing. Use: keras-senet predict IMAGE… --model MODEL"
            )
        as_integer("top", self.top)
        runner = keras_senet.open_model(self.model, self.weights, trust=self.trust)
        names = _read_labels(self.labels) if self.labels else runner.class_names()
        view = view_images(runner.card, runner.name)
        model = runner.keras_model() if self.explain else None
        pictures = [
            np.asarray(view.fit(read_image(path, channels=view.channels)), "float32")
            for path in self.images
        ]
        images = list(map(view.normalise, pictures))
        scores = [_scores(runner, image[np.newaxis]) for image in images]
        names = _names(names, len(scores[0]), runner.name)
        known = runner.card.outputs is not None
        console = make_console()
        if not known:
            console.print(
                f"{runner.name} does not say what its outputs mean, so these are raw "
                "scores, not probabilities."
            )
        columns = (">", "class", ">probability" if known else ">score")
        for path, values in zip(self.images, scores, strict=True):
            rows = [
                (
                    str(rank),
                    names[i].replace("_", " "),
                    f"{100 * values[i]:.1f} %" if known else f"{values[i]:.4g}",
                )
                for rank, i in enumerate(self._best(values, runner.card), 1)
            ]
            print_table(console, path, columns, rows)
        if self.explain:
            rows = zip(self.images, pictures, images, scores, strict=True)
            for path, picture, image, values in rows:
                written = _explain(model, path, picture, image, values)
                console.print(f"Picture of what supports the first class: {written}")
        return 0

    def _best(self, values, card):
        """Returns the numbers of the classes to show."""
        order = (-values).argsort(kind="stable")
        likely = (values > 0.5).sum() if card.multi_label else 0
        return order[: max(self.top, likely)]


def _scores(runner, images):
    """Returns the probabilities of one image, or raw scores if unknown."""
    outputs, meaning = runner.predict(images), runner.card.outputs
    if isinstance(outputs, dict) or outputs.ndim != 2 or meaning == "features":
        raise ValueError(
            "Predictions need a classifier with one output (N, classes). Received: "
            f"{runner.name}, which has other outputs"
        )
    return outputs[0] if meaning is None else runner.card.scores(outputs)[0]


def _explain(model, path, picture, image, values) -> Path:
    """Writes the picture with the parts that support the first class."""
    import numpy as np
    from PIL import Image

    from keras_senet.analysis import class_activation, overlay
    from keras_senet.data.images import EXPLAINED
    from keras_senet.utils.files import atomic_path

    # One unit speaks for class 1, whose score it is.
    best = int(values.argmax()) if len(values) > 1 else 1
    (where,) = class_activation(model, image[np.newaxis], best)
    shown = Image.fromarray(overlay(picture, where))
    factor = -(-_LEAST_SIDE // min(shown.size))
    path = Path(f"{path}{EXPLAINED}")
    with atomic_path(path, overwrite=True) as temporary:
        shown.resize([side * factor for side in shown.size]).save(temporary)
    return path


def _names(names, classes, model) -> list[str]:
    if names is None:
        names = ["the class"] if classes == 1 else range(classes)
    if len(names) != classes:
        raise ValueError(
            f"The labels must name the {classes} classes of {model}. Received: "
            f"{len(names)} labels"
        )
    return list(map(str, names))


def _read_labels(path: Path) -> tuple[str, ...]:
    """Reads class names: a JSON list, or a text with one name a line."""
    if path.suffix.lower() == ".json":
        labels = read_json(path)
    else:
        try:
            labels = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
        except ValueError as error:
            raise ValueError(f"{path} must be UTF-8 text: {error}") from error
    if not isinstance(labels, list) or not all(isinstance(x, str) for x in labels):
        raise ValueError(f"{path} must hold a JSON list of class names.")
    return tuple(labels)
