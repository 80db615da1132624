"""Times fine-tuning on photographs, beside timm's and Keras' ways; weights are random.

    python applications/finetune/clock.py --torch-python python --docs README.md

README.md beside this file says what it measures.
"""

import dataclasses
import functools
import json
import os
import statistics
import subprocess
import sys
import time
import typing
from pathlib import Path
from typing import Literal

import keras
import numpy as np
import tyro
from PIL import Image

from keras_senet import create_model
from keras_senet.benchmark import describe_machine, load, measure_input
from keras_senet.data import batches, open_source
from keras_senet.data.bundled import arrays
from keras_senet.training import FinetuneRecipe, train
from keras_senet.training.datasets import inference_batches, resolve_recipe
from keras_senet.training.network import batch_normalizations, build_model
from keras_senet.training.probe import fit, see
from keras_senet.utils.files import read_json, temporary_folder, write_json
from keras_senet.utils.pages import write_block

Part = Literal["probe", "steps", "timm", "input"]

CLASSES = 4
# The first steps trace the graph and fill the input's buffers.
_WARM_UP = 2
_NOISE = 6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clock:
    """Times the linear probe and the step of fine-tuning, beside other ways.

    Attributes:
        model: The network.
        photos: How many photographs; they are made of the images in the package.
        side: Height and width of the photographs and of the network's input, pixels.
        batch: Images of a step.
        steps: How many steps of each kind are timed; times of whole trainings follow
            from their median.
        rounds: How often the probe and inference are timed.
        large: Photographs of 12 megapixels that are made to time the input; 0 for none.
        torch_python: A Python that has torch and timm; none leaves timm out.
        parts: What is measured; the rest comes from the output of an earlier run.
        output: A JSON file for the figures.
        docs: A page to write the table into, between its marks.
        smoke: Tiny, to try the code.
    """

    model: str = "se_resnet50"
    photos: int = 1000
    side: int = 224
    batch: int = 32
    steps: int = 8
    rounds: int = 2
    large: int = 16
    torch_python: Path | None = None
    parts: tuple[Part, ...] = typing.get_args(Part)
    output: Path | None = None
    docs: Path | None = None
    smoke: bool = False

    def run(self) -> None:
        if self.smoke:
            tiny = {"model": "se_resnet18", "photos": 40, "side": 32, "batch": 8}
            tiny |= {"steps": 2, "rounds": 1, "large": 8}
            dataclasses.replace(self, **tiny)._run()
        else:
            self._run()

    def _run(self):
        found = {} if set(self.parts) == set(typing.get_args(Part)) else self._before()
        found |= {"machine": describe_machine(), "load": load()}
        with temporary_folder() as folder:
            make_photos(folder / "photos", self.photos, (self.side, self.side))
            measure = {
                "probe": self._probe,
                "steps": self._steps,
                "timm": self._timm,
                "input": self._input,
            }
            for part in self.parts:
                found |= measure[part](folder)
                if self.output is not None:  # `parts` goes on where this stops
                    write_json(self.output, found, overwrite=True)
        text = self._table(found)
        print(text)
        if self.docs is not None:
            write_block(self.docs, "clock", text)

    def _before(self) -> dict:
        """The figures of an earlier run."""
        before = self.output is not None and self.output.exists()
        found = read_json(self.output) if before else {}
        needed = {"probe": "inference", "steps": "step"}  # with a figure of each
        left = [
            part
            for part, name in needed.items()
            if part not in self.parts and name not in found
        ]
        if left:
            raise ValueError(
                "`parts` needs the `output` of an earlier run with the other parts: "
                f"{', '.join(left)}. Received: parts={self.parts}, "
                f"output={self.output}"
            )
        return found

    @property
    def _recipe(self):
        return FinetuneRecipe(
            model=self.model,
            weights=None,
            image_size=self.side,
            global_batch_size=self.batch,
        )

    def _probe(self, folder: Path) -> dict:
        """Seconds of the linear probe, and of one pass of inference."""
        source = open_source(folder / "photos")
        recipe = resolve_recipe(self._recipe, source)
        network = build_model(recipe, source)
        parts = [
            (inference_batches(recipe, source, split), source.part(split).images)
            for split in (recipe.train_split, recipe.validation_split)
        ]

        def inference():
            network.make_predict_function(force=True)  # The probe traces its own too.
            for dataset, _ in parts:
                network.predict(dataset, verbose=0)

        def probe():
            seen = see(network, parts, folder / "features.npy")
            begin = time.perf_counter()
            fit(*seen, independent=False)
            fits.append(time.perf_counter() - begin)

        fits, times = [], {"inference": [], "probe": []}
        network.predict(parts[1][0].take(1), verbose=0)
        for _ in range(self.rounds):
            for name, call in (("inference", inference), ("probe", probe)):
                begin = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - begin)
        found = {name: statistics.median(values) for name, values in times.items()}
        found["fit"] = statistics.median(fits)
        found["updates"] = (
            recipe.epochs * recipe.passes * (parts[0][1] // recipe.global_batch_size)
        )
        found["held_out"] = recipe.epochs * parts[1][1]
        found["passes"] = recipe.epochs * recipe.passes
        keras.backend.clear_session()
        return found

    def _steps(self, folder: Path) -> dict:
        """Seconds of a step: ours, `model.fit`'s, and the guide's two."""
        source = open_source(folder / "photos")
        images = batches(
            source,
            "train",
            image_size=self.side,
            batch_size=self.batch,
            training=True,
            augmentation="flip",
            drop_remainder=True,
        ).repeat()
        found = {}
        ours = _Steps()
        recipe = dataclasses.replace(
            self._recipe,
            linear_probe=False,
            epochs=1,
            limit=self.batch * (self.steps + _WARM_UP),
        )
        if recipe.limit > source.part("train").images:
            recipe = dataclasses.replace(recipe, limit=None)
        train(recipe, folder / "run", source=source, callbacks=[ours], verbose=0)
        found["step"] = ours.median
        for name, build in (
            ("fit_step", self._own),
            ("guide_classifier", functools.partial(self._guide, frozen=True)),
            ("guide_all", functools.partial(self._guide, frozen=False)),
        ):
            keras.backend.clear_session()
            steps = _Steps()
            build().fit(
                images,
                steps_per_epoch=self.steps + _WARM_UP,
                callbacks=[steps],
                shuffle=False,
                verbose=0,
            )
            found[name] = steps.median
        return found

    def _own(self):
        """A network that a user compiles, as docs/training.md has it."""
        network = self._network(classes=CLASSES, include_preprocessing=True)
        for layer in batch_normalizations(network):
            layer.trainable = False
        return _compiled(network, 1e-4)

    def _guide(self, *, frozen):
        """Keras' guide to transfer learning: before and after base.trainable = True."""
        base = self._network(include_top=False, include_preprocessing=True)
        base.trainable = not frozen
        inputs = keras.Input((self.side, self.side, 3))
        x = keras.layers.GlobalAveragePooling2D()(base(inputs, training=False))
        outputs = keras.layers.Dense(CLASSES, "softmax")(keras.layers.Dropout(0.2)(x))
        return _compiled(keras.Model(inputs, outputs), 1e-3 if frozen else 1e-5)

    def _network(self, **options):
        shape = (self.side, self.side, 3)
        return create_model(self.model, weights=None, input_shape=shape, **options)

    def _timm(self, folder: Path) -> dict:
        if self.torch_python is None:
            return {}
        command = [self.torch_python, Path(__file__).with_name("torch_probe.py")]
        words = [folder / "photos", self.batch, describe_machine()["cores"]]
        done = subprocess.run(
            [*map(str, command + words)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise OSError(f"timm's probe failed: {done.stderr.strip()[-300:]}")
        return json.loads(done.stdout.splitlines()[-1])  # packages may print too

    def _input(self, folder: Path) -> dict:
        if not self.large:
            return {}
        photos = folder / "large"
        make_photos(photos, self.large, (64, 48) if self.smoke else (4000, 3000))
        recipe = dataclasses.replace(
            self._recipe, data=str(photos), global_batch_size=min(self.large // 2, 8)
        )
        seconds = 0.5 if self.smoke else 20.0
        return {"input": measure_input(recipe, seconds=seconds, with_model=True)}

    def _table(self, found: dict) -> str:
        passes = found["passes"]
        steps = int(0.8 * self.photos) // self.batch
        each = found["inference"] / self.photos
        whole = found["probe"] + found["updates"] * found["step"]
        whole += found["held_out"] * each
        rows = [
            ("one pass of inference", found["inference"], "measured"),
            ("linear probe", found["probe"], f"measured; the fit {found['fit']:.1f} s"),
            (
                "fine-tuning with no option",
                whole,
                f"the probe, {found['updates']} steps of {found['step']:.2f} s, and "
                f"{found['held_out']:,} held-out images",
            ),
        ]
        if "timm_features" in found:
            rows.append(
                (
                    "timm's features and a linear classifier in torch",
                    found["timm_features"] + found["timm_classifier"],
                    f"measured; the classifier {found['timm_classifier']:.1f} s",
                )
            )
        for name, title in (
            ("guide_classifier", "Keras' guide, the new classifier"),
            ("guide_all", "Keras' guide, all layers"),
        ):
            note = f"{passes} passes of {steps} steps of {found[name]:.2f} s"
            rows.append((title, passes * steps * found[name], note))
        lines = [
            f"`{self.model}`, random weights, {self.photos:,} photographs of "
            f"{self.side} pixels, steps of {self.batch}; {found['machine']['cores']} "
            f"cores, load before {found['load']:.1f}.",
            "",
            "| what | minutes | how it is known |",
            "|---|--:|---|",
            *(f"| {name} | {value / 60:.1f} | {note} |" for name, value, note in rows),
            "",
            f"- The probe takes {found['probe'] / found['inference']:.2f} times one "
            "pass of inference.",
            f"- A step of fine-tuning takes {found['step'] / found['fit_step']:.2f} "
            f"times that of `model.fit` on the same network, {found['fit_step']:.2f} "
            "s.",
        ]
        if "input" in found:
            speed = found["input"]
            lines.append(
                f"- Photographs of 12 megapixels: the input gives "
                f"{speed['input_images_per_second']:.0f} images/s, the training step "
                f"takes {speed['step_images_per_second']:.1f}; the limit is "
                f"{speed['limit']}."
            )
        return "\n".join(lines)


class _Steps(keras.callbacks.Callback):
    """Times steps, with the time that they wait for their images."""

    def __init__(self):
        super().__init__()
        self.ends = []

    def on_train_batch_end(self, batch, logs=None):
        self.ends.append(time.perf_counter())

    @property
    def median(self) -> float:
        return float(np.median(np.diff(self.ends)[_WARM_UP - 1 :]))


def _compiled(network, rate):
    network.compile(
        keras.optimizers.Adam(rate),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,
    )
    return network


def make_photos(folder: Path, count: int, size: tuple[int, int]) -> None:
    """Writes JPEG photographs of (width, height) pixels in four classes.

    They are enlarged clothes under noise, without which files would be too small.
    """
    random = np.random.default_rng(0)
    noise = random.normal(0, _NOISE, (*size[::-1], 3)).astype(np.float32)
    images, labels = arrays()["x_train"], arrays()["y_train"]
    chosen = np.flatnonzero(labels < CLASSES)[:count]
    for number, place in enumerate(chosen):
        image = Image.fromarray(images[place]).resize(size, Image.Resampling.BICUBIC)
        pixels = np.asarray(image, np.float32)[..., None] + np.roll(noise, number, 1)
        path = folder / str(labels[place]) / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo = np.clip(pixels, 0, 255).astype(np.uint8)
        Image.fromarray(photo).save(path, quality=90)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        tyro.cli(Clock).run()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
