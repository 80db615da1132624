"""Prunes a trained network by gates and by weights, at equal cost, and compares.

    python applications/prune/main.py runs/quickstart --output runs/prune

README.md in this folder describes its output.
"""

import dataclasses
import json
import os
import sys
from pathlib import Path

import keras
import report
import tyro
from latency import latency

import keras_senet
from keras_senet.data import batches, open_source
from keras_senet.utils.files import atomic_path
from keras_senet.utils.pages import write_block


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pruning:
    """Prunes a trained network in several ways and compares them.

    Attributes:
        model: A run folder, a .keras file, or a network with trained weights, such as
            se_resnet20.cifar10.
        output: A folder, new, or of a comparison to resume.
        weights: For the name of a network: a preset or a file.
        data: The data that it was trained on.
        data_dir: The folder of the data, if not the usual one.
        train_split: The split for the gates and for further training.
        test_split: The split for the accuracy.
        keep: The shares of the channels to keep.
        epochs: Passes over the training images after pruning.
        learning_rate: The highest learning rate of the further training.
        batch_size: Number of images in one step.
        augmentation: Augmentation of the further training: none, flip or cifar.
        limit: Train on at most this many images.
        seeds: For the order of the images; each network is trained with each seed.
        docs: A Markdown page; the result is written between its marks.
    """

    model: tyro.conf.Positional[str]
    output: Path
    weights: str | None = None
    data: str = "bundled"
    data_dir: Path | None = None
    train_split: str = "train"
    test_split: str = "test"
    keep: tuple[float, ...] = (0.7, 0.5)
    epochs: int = 2
    learning_rate: float = 0.01
    batch_size: int = 64
    augmentation: str = "flip"
    limit: int | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    docs: Path | None = None

    def run(self) -> None:
        rows = self._done()
        ways = [(1.0, report.WHOLE)]
        ways += [(keep, how) for keep in self.keep for how in report.IMPORTANCES]
        wanted = [(*way, seed) for seed in self.seeds for way in ways]
        for way in wanted:
            if any(report.key(row) == way for row in rows):
                continue
            rows.append(self._measure(*way, rows))
            self._store(rows)
            print(report.line(rows[-1:]), flush=True)
            keras.backend.clear_session()
        self._write([row for row in rows if report.key(row) in wanted])
        print(f"Written to {self.output / 'pruning.md'}")

    def _done(self):
        path = self.output / "results.json"
        if not path.is_file():
            return []
        stored = json.loads(path.read_text("utf-8"))
        if stored["options"] != self._options():
            raise ValueError(
                "A comparison must be resumed with its own options. Received: "
                f"{str(self.output)!r}, which was made with others. Choose another "
                "--output."
            )
        return stored["rows"]

    def _options(self):
        skipped = ("output", "keep", "seeds", "data_dir", "docs")
        values = dataclasses.asdict(self)
        return {k: str(v) for k, v in values.items() if k not in skipped}

    def _open(self):
        path = Path(self.model)
        if (path / "model.keras").is_file():
            path = path / "model.keras"
        if path.is_file():
            return keras.saving.load_model(path, compile=False)
        given = {} if self.weights is None else {"weights": self.weights}
        return keras_senet.create_model(self.model, include_preprocessing=True, **given)

    def _measure(self, keep, importance, seed, rows):
        keras.utils.set_random_seed(seed + 1)
        model = self._open()
        source = open_source(self.data, data_dir=self.data_dir)
        if importance != report.WHOLE:
            images = self._batches(model, source, self.train_split, limit=1000)
            model = keras_senet.prune(model, images, keep=keep, importance=importance)
        cost = keras_senet.complexity(model)
        test = self._batches(model, source, self.test_split)
        # A seed changes nothing before the training, an importance no latency.
        same = [row for row in rows if report.key(row)[:2] == (keep, importance)]
        before = same[0]["before"] if same else keras_senet.evaluate(model, test).top1
        timed = [row["latency"] for row in rows if row["keep"] == keep]
        self._train(model, source, seed)
        after = keras_senet.evaluate(model, test)
        return {
            "keep": keep,
            "importance": importance,
            "seed": seed,
            "images": after.images,
            "parameters": cost.parameters,
            "multiply_adds": cost.multiply_adds,
            "latency": timed[0] if timed else latency(model),
            "before": before,
            "after": after.top1,
        }

    def _batches(self, model, source, split, **options):
        return batches(
            source,
            split,
            image_size=model.input_shape[1:3],
            channels=model.input_shape[3],
            batch_size=self.batch_size,
            **options,
        )

    def _train(self, model, source, seed):
        options = {"training": True, "augmentation": self.augmentation, "seed": seed}
        training = self._batches(
            model, source, self.train_split, limit=self.limit, **options
        )
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

    def _store(self, rows):
        with atomic_path(self.output / "results.json", overwrite=True) as path:
            stored = {"options": self._options(), "rows": rows}
            path.write_text(json.dumps(stored, indent=1) + "\n", "utf-8")

    def _write(self, rows):
        limit = "all" if self.limit is None else f"{self.limit:,}"
        setting = (
            f"`{self.model}` on {self.data}, {rows[0]['images']:,} images of "
            f"{self.test_split!r}. Trained further for {self.epochs} epochs of {limit} "
            f"images of {self.train_split!r}, seeds {', '.join(map(str, self.seeds))}."
        )
        text = report.text(rows, setting)
        with atomic_path(self.output / "pruning.md", overwrite=True) as path:
            path.write_text(f"# Pruning\n\n{text}", "utf-8")
        if self.docs is not None:
            write_block(self.docs, "pruning", text)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        tyro.cli(Pruning).run()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
