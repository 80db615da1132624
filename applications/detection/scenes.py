"""Draws scenes of several garments from the bundled images, in COCO's form.

    python applications/detection/scenes.py runs/scenes

Needs no download. Each garment has a random place, size and tint, may hide a part of
another one, and is annotated with the box and the mask of what is seen of it.
"""

import dataclasses
import json
import os
import sys
from pathlib import Path

import numpy as np
import tyro
from PIL import Image

from keras_senet.data import open_source
from keras_senet.utils.files import atomic_path

# The share of a garment that others may hide, and the grey from which it is seen.
_HIDDEN, _SEEN = 0.4, 30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scenes:
    """Draws scenes of several garments, in COCO's form.

    Attributes:
        output: A new folder: annotations/instances_train.json, train/, and the same
            for the test scenes, which have other garments.
        train: Number of training scenes.
        test: Number of test scenes.
        size: Their height and width in pixels.
        most: The largest number of garments in a scene; some scenes have none.
        seed: For all random choices.
    """

    output: tyro.conf.Positional[Path]
    train: int = 1000
    test: int = 200
    size: int = 128
    most: int = 5
    seed: int = 0

    def run(self) -> None:
        source = open_source("bundled")
        with atomic_path(self.output, what="folder of scenes") as folder:
            (folder / "annotations").mkdir(parents=True)
            for number, split in enumerate(("train", "test")):
                rng = np.random.default_rng((self.seed, number))
                garments = list(source.dataset(split).as_numpy_iterator())
                self._write(folder, split, garments, rng, source.class_names)
        print(f"Written to {self.output}: {self.train} and {self.test} scenes")

    def _write(self, folder, split, garments, rng, names):
        images, annotations = [], []
        (folder / split).mkdir()
        for number in range(1, getattr(self, split) + 1):
            pixels, owners, labels = draw_scene(rng, garments, self.size, self.most)
            file = f"{number:06}.png"
            Image.fromarray(pixels).save(folder / split / file)
            sides = {"height": self.size, "width": self.size}
            images.append({"id": number, "file_name": file, **sides})
            for owner, label in enumerate(labels, 1):
                about = {"id": len(annotations) + 1, "image_id": number}
                mask = _annotate(owners == owner)
                annotations.append({**about, "category_id": label + 1, **mask})
        categories = [{"id": i, "name": name} for i, name in enumerate(names, 1)]
        content = {"images": images, "annotations": annotations}
        path = folder / "annotations" / f"instances_{split}.json"
        path.write_text(json.dumps({**content, "categories": categories}), "utf-8")


def draw_scene(rng, garments, size, most):
    """Returns pixels (size, size, 3), whose garment each is from 1 on, and labels."""
    across = np.linspace(0, 1, size)
    slope = np.outer(across, rng.uniform(-40, 40, 3))
    pixels = (
        rng.uniform(40, 140, 3) + slope[:, None] + rng.normal(0, 8, (size, size, 1))
    )
    owners, labels, areas = np.zeros((size, size), int), [], []
    for _ in range(rng.integers(most + 1)):
        for _ in range(20):
            image, label = garments[rng.integers(len(garments))]
            side = int(rng.integers(size // 5, size // 2 + 1))
            grey = Image.fromarray(image[..., 0]).resize((side, side), Image.BILINEAR)
            grey = np.asarray(grey)
            top, left = rng.integers(0, size - side + 1, 2)
            place = slice(top, top + side), slice(left, left + side)
            seen, tried = grey > _SEEN, owners.copy()
            tried[place][seen] = len(labels) + 1
            left_over = np.bincount(tried.ravel(), minlength=len(labels) + 2)[1:-1]
            if seen.any() and np.all(left_over >= (1 - _HIDDEN) * np.array(areas)):
                tint = rng.uniform(0.4, 1, 3)
                pixels[place][seen] = grey[seen][:, None] * tint
                owners, labels = tried, [*labels, int(label)]
                areas.append(np.count_nonzero(seen))
                break
    return np.clip(pixels, 0, 255).astype("uint8"), owners, labels


def _annotate(mask):
    """COCO's box, area and run lengths (down the columns, from zeros on) of a mask."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    height, width = (int(found[-1] - found[0] + 1) for found in (rows, columns))
    runs = mask.ravel(order="F").astype(int)
    ends = np.flatnonzero(np.diff(runs, prepend=0, append=2))
    return {
        "bbox": [int(columns[0]), int(rows[0]), width, height],
        "area": int(mask.sum()),
        "iscrowd": 0,
        "segmentation": {
            "size": list(mask.shape),
            "counts": np.diff(ends, prepend=0).tolist(),
        },
    }


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        tyro.cli(Scenes).run()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
