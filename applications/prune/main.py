"""Prunes a trained network by gates and by weights, at equal cost, and compares.

    python applications/prune/main.py runs/quickstart --output runs/prune

README.md beside this file says what it writes.
"""

import dataclasses
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tyro

import keras_senet
from keras_senet.data import batches, open_source
from keras_senet.export import open_runner
from keras_senet.utils.files import atomic_path

IMPORTANCES = ("weights", "gates", "both")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pruning:
    """Prunes a trained network in several ways and compares them.

    Attributes:
        model: A run folder or a .keras file.
        output: A folder, new or of a comparison that goes on.
        data: What it was trained on.
        data_dir: Where the data lies, if not in its usual place.
        keep: The shares of the channels that are kept.
        epochs: Passes over the training images after pruning.
        learning_rate: The highest rate of training on; it falls to zero.
        batch_size: Images of a step.
        augmentation: Of training on: none, flip or cifar.
        limit: Use only so many images of each split.
        seed: Of the order of the images.
    """

    model: tyro.conf.Positional[Path]
    output: Path
    data: str = "bundled"
    data_dir: Path | None = None
    keep: tuple[float, ...] = (0.7, 0.5)
    epochs: int = 2
    learning_rate: float = 0.01
    batch_size: int = 64
    augmentation: str = "flip"
    limit: int | None = None
    seed: int = 0

    def run(self) -> None:
        rows = self._done()
        cells = [(1.0, "none")]
        cells += [(keep, how) for keep in self.keep for how in IMPORTANCES]
        self.output.mkdir(parents=True, exist_ok=True)
        for keep, importance in cells:
            if any((r["keep"], r["importance"]) == (keep, importance) for r in rows):
                continue
            rows.append(self._measure(keep, importance, rows))
            self._write(rows)
            print(_line(rows[-1]), flush=True)
            keras.backend.clear_session()
        print(f"Written to {self.output / 'pruning.md'}")

    def _done(self):
        path = self.output / "results.json"
        if not path.is_file():
            return []
        stored = json.loads(path.read_text("utf-8"))
        if stored["options"] != self._options():
            raise ValueError(
                "A comparison goes on with its own options. Received: "
                f"{str(self.output)!r}, which was made with others. Choose another "
                "--output."
            )
        return stored["rows"]

    def _options(self):
        skipped = ("output", "keep", "data_dir")
        values = dataclasses.asdict(self)
        return {k: str(v) for k, v in values.items() if k not in skipped}

    def _measure(self, keep, importance, rows):
        keras.utils.set_random_seed(self.seed + 1)
        file = self.model if self.model.suffix else self.model / "model.keras"
        model = keras.saving.load_model(file, compile=False)
        source = open_source(self.data, data_dir=self.data_dir)
        if importance != "none":
            images = (x for x, _ in self._batches(model, source, "train", limit=1000))
            model = keras_senet.prune(model, images, keep=keep, importance=importance)
        cost = keras_senet.complexity(model)
        test = self._batches(model, source, "test")
        before = keras_senet.evaluate(model, test).top1
        self._train(model, source)
        same = [r["latency"] for r in rows if r["keep"] == keep]
        return {
            "keep": keep,
            "importance": importance,
            "parameters": cost.parameters,
            "multiply_adds": cost.multiply_adds,
            "latency": same[0] if same else _latency(model),
            "before": before,
            "after": keras_senet.evaluate(model, test).top1,
        }

    def _batches(self, model, source, split, *, limit=None, **options):
        return batches(
            source,
            split,
            image_size=model.input_shape[1:3],
            channels=model.input_shape[3],
            batch_size=self.batch_size,
            limit=limit or self.limit,
            **options,
        )

    def _train(self, model, source):
        options = {"training": True, "augmentation": self.augmentation}
        training = self._batches(model, source, "train", seed=self.seed, **options)
        steps = self.epochs * int(training.cardinality())
        model.compile(
            keras.optimizers.SGD(
                keras.optimizers.schedules.CosineDecay(self.learning_rate, steps),
                momentum=0.9,
                nesterov=True,
            ),
            keras.losses.SparseCategoricalCrossentropy(),
            jit_compile=False,
        )
        model.fit(training, epochs=self.epochs, shuffle=False, verbose=0)

    def _write(self, rows):
        with atomic_path(self.output / "results.json", overwrite=True) as path:
            stored = {"options": self._options(), "rows": rows}
            path.write_text(json.dumps(stored, indent=1) + "\n", "utf-8")
        head = (
            "| kept | by | parameters | multiply-adds, M | latency, ms "
            "| accuracy at once, % | after training on, % |"
        )
        ruler = "|---" * 7 + "|"
        text = "\n".join([head, ruler, *map(_line, rows)])
        title = f"# Pruning {self.model.name} on {self.data}"
        images = "all" if self.limit is None else f"{self.limit:,}"
        setting = (
            f"{self.epochs} epochs of training on, seed {self.seed}, {images} images "
            "of each split."
        )
        with atomic_path(self.output / "pruning.md", overwrite=True) as path:
            path.write_text(f"{title}\n\n{setting}\n\n{text}\n", "utf-8")


def _line(row):
    return (
        f"| {100 * row['keep']:.0f} % | {row['importance']} | {row['parameters']:,} "
        f"| {row['multiply_adds'] / 1e6:.2f} | {1e3 * row['latency']:.2f} "
        f"| {100 * row['before']:.2f} | {100 * row['after']:.2f} |"
    )


def _latency(model, calls=50) -> float:
    """The median seconds of one image in LiteRT, float32."""
    image = np.zeros((1, *model.input_shape[1:]), "float32")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.tflite"
        keras_senet.export_tflite(model, file)
        runner = open_runner(file, threads=1)
        seconds = []
        for _ in range(calls + 5):
            start = time.perf_counter()
            runner.predict(image)
            seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[5:]))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        tyro.cli(Pruning).run()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
