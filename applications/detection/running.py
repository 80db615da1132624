"""What both programs, detection and segmentation, share: options and training."""

import dataclasses
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import tyro
from annotated import open_annotated

import keras_senet
from keras_senet.training import make_strategy
from keras_senet.utils.files import atomic_path, write_json


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """A training that resumes if it was interrupted and is called again.

    Attributes:
        run_folder: The folder for all output.
        data: A folder in COCO's format; for detection also a tensorflow_datasets
            name, such as coco/2017 or voc.
        data_dir: The folder of the tensorflow_datasets data, if not the usual one.
        train_split: The split for training.
        test_split: The split for the results.
        model: The backbone.
        weights: Its weights, a preset or a file; by default random.
        se: Whether it has SE.
        image_size: Side of the square images.
        epochs: Passes over the training images.
        batch_size: Number of images in one step, on all devices together.
        learning_rate: The highest learning rate, reached after 5 % of the steps.
        seed: For the initial weights and the augmentation.
        limit: Use at most this many images of each split.
    """

    run_folder: tyro.conf.Positional[Path]
    data: str
    data_dir: str | None = None
    train_split: str = "train"
    test_split: str = "test"
    model: str = "se_resnet18"
    weights: str | None = None
    se: bool = True
    image_size: int = 128
    epochs: int = 12
    batch_size: int = 16
    learning_rate: float = 5e-4
    seed: int = 0
    limit: int | None = None

    def open(self):
        """Returns both splits, after the options are written or are those of before."""
        for name in ("epochs", "batch_size", "limit", "image_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(
                    f"`{name}` must be a positive integer. Received: {name}={value}"
                )
        options = json.loads(json.dumps(dataclasses.asdict(self), default=str))
        options.pop("run_folder")
        splits = [
            open_annotated(self.data, split, self.data_dir)
            for split in (self.train_split, self.test_split)
        ]
        print(*splits, sep="\n", flush=True)
        names = [split.class_names for split in splits]
        if names[0] != names[1]:
            raise ValueError(
                f"Both splits must have the same classes. Received: {names[0]} and "
                f"{names[1]}"
            )
        file = self.run_folder / "options.json"
        made = {path.suffix for path in self.run_folder.glob("*")} - {".json"}
        if not made:  # nothing was trained by the options of before
            write_json(file, options, overwrite=True)
        before = json.loads(file.read_text("utf-8"))
        differ = [name for name in options if options[name] != before.get(name)]
        if differ:
            raise ValueError(
                "A run must be resumed with its own options. Received: "
                f"{', '.join(differ)}, different from {str(file)!r}. Choose another "
                "run folder."
            )
        return splits

    def images(self, data) -> int:
        """Returns how many images of a split are used."""
        return min(data.images, self.limit or data.images)

    def fit(self, file: Path, data, build, dataset, **compiled):
        """Returns the trained model, from its file where it is there.

        Args:
            file: The model's .keras file.
            data: What is trained on.
            build: Makes a model of a network without its top.
            dataset: tf.data examples for `model.fit`, one by one.
            **compiled: For `model.compile`.
        """
        if not file.exists():
            keras.utils.set_random_seed(self.seed)
            steps = self.epochs * max(1, self.images(data) // self.batch_size)
            warmup = -(-steps // 20)
            with make_strategy().scope():
                model = build(self._network())
                rate = keras.optimizers.schedules.CosineDecay(
                    0.0,
                    max(1, steps - warmup),
                    warmup_target=self.learning_rate,
                    warmup_steps=warmup,
                )
                optimizer = keras.optimizers.AdamW(
                    rate, weight_decay=1e-4, global_clipnorm=10
                )
                model.compile(optimizer, jit_compile=False, **compiled)
            size = min(self.batch_size, self.images(data))
            folder = self.run_folder
            model.fit(
                dataset.batch(size, drop_remainder=True).prefetch(2),
                epochs=self.epochs,
                callbacks=[
                    keras.callbacks.BackupAndRestore(
                        folder / "backup", delete_checkpoint=False
                    ),
                    keras.callbacks.CSVLogger(folder / "history.csv", append=True),
                    keras.callbacks.LambdaCallback(on_train_batch_end=_check_loss),
                ],
                verbose=2,
            )
            with atomic_path(file) as temporary:
                model.save(temporary)
            shutil.rmtree(folder / "backup", ignore_errors=True)
        # As it was saved: without the devices that it was trained on.
        return keras.saving.load_model(file, compile=False)

    def _network(self):
        options = {} if self.se else {"se": False}
        return keras_senet.create_model(
            self.model,
            weights=self.weights,
            include_top=False,
            include_preprocessing=True,
            input_shape=(self.image_size, self.image_size, 3),
            **options,
            **self.network_options(),
        )

    def network_options(self) -> dict:
        """Returns what else the network is built with."""
        return {}


def _check_loss(step, logs):
    if not np.isfinite(logs["loss"]):
        raise ValueError(
            f"The loss must be finite. Received: {logs['loss']} in step {step + 1}. "
            "Use a lower --learning-rate and a new run folder."
        )
