"""Prunes a trained network by gates and by weights, at equal cost, and compares.

    python applications/prune/main.py runs/quickstart --output runs/prune

README.md in this folder describes its output.
"""

import dataclasses
import os
import sys
from pathlib import Path

import keras
import report
import tyro
from latency import latency

import keras_senet
from keras_senet.data import Source, open_source
from keras_senet.opening import open_model
from keras_senet.utils.files import atomic_path, read_json, write_json
from keras_senet.utils.pages import read_block, write_block


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
        source = self._checked_source()
        rows = self._done()
        ways = [(1.0, report.WHOLE)]
        ways += [(keep, how) for keep in self.keep for how in report.IMPORTANCES]
        wanted = [(*way, seed) for seed in self.seeds for way in ways]
        for way in wanted:
            if any(report.key(row) == way for row in rows):
                continue
            rows.append(self._measure(*way, rows, source))
            stored = {"options": self._options(), "rows": rows}
            write_json(self.output / "results.json", stored, overwrite=True)
            print(report.line(rows[-1:]), flush=True)
            keras.backend.clear_session()
        self._write([row for row in rows if report.key(row) in wanted])
        print(f"Written to {self.output / 'pruning.md'}")

    def _checked_source(self) -> Source:
        """Opens the data; raises if an option, the model or the page does not fit."""
        if not self.seeds:
            raise ValueError("`seeds` must have at least one number. Received none.")
        for keep in self.keep:
            if not 0 < keep < 1:
                raise ValueError(
                    f"`keep` must lie between 0 and 1. Received: keep={keep!r}"
                )
        if self.docs is not None:
            read_block(self.docs, "pruning")
        opened = open_model(self.model, self.weights)
        card = opened.card
        if card.outputs not in ("softmax", "logits"):
            raise ValueError(
                "The network must be a classifier whose outputs are 'softmax' or "
                f"'logits'. Received: {self.model!r} with outputs={card.outputs!r}"
            )
        source = open_source(self.data, data_dir=self.data_dir)
        card.check_names(source.class_names)
        opened.view(source)  # raises where the images do not fit
        return source

    def _done(self):
        path = self.output / "results.json"
        if not path.is_file():
            return []
        stored = read_json(path)
        if not isinstance(stored, dict) or not {"options", "rows"} <= set(stored):
            raise ValueError(
                "The results must be those of a comparison. Received: "
                f"{str(path)!r}, which is another file. Choose another --output."
            )
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

    def _measure(self, keep, importance, seed, rows, source):
        keras.utils.set_random_seed(seed + 1)
        opened = open_model(self.model, self.weights)
        model, view = opened.keras_model(), opened.view(source)
        if importance != report.WHOLE:
            images = view.batches(
                self.train_split, batch_size=self.batch_size, limit=1000
            )
            model = keras_senet.prune(model, images, keep=keep, importance=importance)
        shape = (*view.image_size, view.channels)
        cost = keras_senet.complexity(model, input_shape=shape)
        # A seed changes nothing before the training, an importance no latency.
        same = [row for row in rows if report.key(row)[:2] == (keep, importance)]
        before = same[0]["before"] if same else self._evaluate(model, source).top1
        timed = [row["latency"] for row in rows if row["keep"] == keep]
        self._train(model, view, seed)
        after = self._evaluate(model, source)
        return {
            "keep": keep,
            "importance": importance,
            "seed": seed,
            "images": after.images,
            "parameters": cost.parameters,
            "multiply_adds": cost.multiply_adds,
            "latency": timed[0] if timed else latency(model, shape),
            "before": before,
            "after": after.top1,
        }

    def _evaluate(self, model, source):
        return keras_senet.evaluate(
            model, source, split=self.test_split, batch_size=self.batch_size
        )

    def _train(self, model, view, seed):
        training = view.batches(
            self.train_split,
            batch_size=self.batch_size,
            training=True,
            augmentation=self.augmentation,
            seed=seed,
            limit=self.limit,
        )
        steps = self.epochs * int(training.cardinality())
        is_logits = keras_senet.Card.of(model).outputs == "logits"
        model.compile(
            keras.optimizers.SGD(
                keras.optimizers.schedules.CosineDecay(self.learning_rate, steps),
                momentum=0.9,
                nesterov=True,
            ),
            keras.losses.SparseCategoricalCrossentropy(from_logits=is_logits),
            jit_compile=False,
        )
        model.fit(training, epochs=self.epochs, shuffle=False, verbose=0)

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
