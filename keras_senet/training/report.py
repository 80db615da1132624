"""The report of a fine-tuning: report.html, and files of the same for programs."""

import json
import math
import shlex

import numpy as np

from keras_senet.evaluation import Evaluation
from keras_senet.training.datasets import data_images
from keras_senet.utils.files import write_json
from keras_senet.utils.report_page import Picture, Report, write_report_files

_PICTURES = {
    "curves": ("Loss and accuracy of each epoch", "Training and held-out images."),
    "confusion": (
        "Confusion matrix",
        "Each row is a class; the columns are what the network says of its images.",
    ),
    "worst": ("The worst mistakes", "worst.html shows what supports each class."),
}


def write_report(result, verifications=()) -> None:
    """Writes report.html, report.md, report.json and classes.csv into the run folder.

    `verifications` are reports of `keras_senet.verify` on the exported files.
    """
    folder, probe = result.run_folder, result.probe
    fields = ("accuracy", "loss", "training_accuracy", "strength")
    values = {
        "data": result.source.name,
        "warnings": result.warnings,
        "accuracy": result.accuracy,
        "recipe": result.recipe.to_json(),
        "split": _describe_split(result),
        "skipped_images": result.source.skipped,
        "classes": _classes(result),
        "probe": probe
        and {
            **{name: getattr(probe, name) for name in fields},
            "kept": result.keeps_probe,
        },
        "phases": _phases(result),
        "evaluation": json.loads(result.evaluation.to_json()),
        "worst": result.worst,
        "verifications": [json.loads(report.to_json()) for report in verifications],
    }
    write_json(folder / "report.json", values, overwrite=True)
    pictures = [name for name in _PICTURES if name != "worst" or result.worst]
    found = {name: folder / f"{name}.png" for name in pictures}
    report = Report(
        title=f"{result.model.name} on {result.source.name}",
        answer=[*_answer(result, verifications, values)],
        about=_about(result, values),
        pictures=[
            Picture(path.read_bytes(), *_PICTURES[name], path.name)
            for name, path in found.items()
            if path.exists()
        ],
        tables=[*_tables(verifications, values)],
        files=[
            "report.json",
            *(["history.csv"] if values["phases"] else ()),
            *(["worst.html"] if result.worst else ()),
        ],
    )
    measure = "accuracy" if result.source.multi_label else "top-1"
    classes = [
        {
            "class": row["name"],
            "trained on": row["images"],
            "weight": f"{row['weight']:.2f}",
            measure: math.nan if row["accuracy"] is None else row["accuracy"],
        }
        for row in values["classes"]
    ]
    write_report_files(folder, report, classes)


def _describe_split(result) -> str:
    """Says which images the network was trained and which it was measured on."""
    recipe, source = result.recipe, result.source
    train = data_images(recipe, source, recipe.train_split)
    text = (
        f"Trained on {train:,} images ({recipe.train_split}), measured on "
        f"{source.part(recipe.validation_split).images:,} others "
        f"({recipe.validation_split})."
    )
    rows = (source.class_names, result.image_counts, result.held_out_counts)
    counts = zip(*rows, strict=True)
    alone = [name for name, images, measured in counts if (images, measured) == (1, 0)]
    if alone:
        text += (
            " Of these classes the single image is trained on and nothing is measured: "
            f"{', '.join(alone)}."
        )
    return text


def _classes(result):
    names, evaluation = result.source.class_names, result.evaluation
    if isinstance(evaluation, Evaluation):
        accuracies = evaluation.class_accuracy
    else:  # of one output for two classes: the same of both
        accuracies = np.broadcast_to(evaluation.accuracy, len(names))
    rows = zip(
        names, result.image_counts, result.class_weights, accuracies, strict=True
    )
    return [
        {
            "name": name,
            "images": images,
            "weight": weight,
            "accuracy": None if math.isnan(accuracy) else float(accuracy),
        }
        for name, images, weight, accuracy in rows
    ]


def _phases(result):
    history, rows = result.history, []
    phases = history.get("phase", [2] * len(history["epoch"])) if history else []
    for number, title, _ in result.recipe.phases:
        places = [i for i, phase in enumerate(phases) if phase == number]
        if places:
            best = min(places, key=lambda i: history["val_loss"][i])
            rows.append(
                {
                    "title": title,
                    "epochs": len(places),
                    "best_epoch": best + 1,
                    "val_loss": history["val_loss"][best],
                    "val_accuracy": history["val_accuracy"][best],
                }
            )
    return rows


def _answer(result, verifications, values):
    """Sentences: the accuracy, what is doubtful, what to do next."""
    first, *others = result.evaluation.findings()
    yield f"Held out: {first}"
    probe = values["probe"]
    if probe:
        text = f"The linear probe has an accuracy of {probe['accuracy']:.1%}."
        if values["phases"] and probe["kept"]:
            text += " Training all layers was not better, so the probe is kept."
        yield text
    yield from (f"Warning: {warning}" for warning in result.warnings)
    failed = [_name(v) for v in verifications if not v.passed]
    if failed:
        names = ", ".join(failed)
        yield f"Do not use these files, they differ from the model: {names}."
    yield from others
    if not result.at_chance:
        folder = shlex.quote(str(result.run_folder))
        yield f"To name a photo: keras-senet predict photo.jpg --model {folder}"


def _about(result, values):
    texts = [
        values["split"],
        f"If the data has no test part, {result.recipe.held_out:.0%} of the images are "
        "held out, the same ones each time.",
    ]
    chosen = "The linear probe" if values["probe"] else None
    if values["phases"] and result.recipe.stop_early:
        chosen = "The epoch"
    if chosen:
        texts.append(
            f"{chosen} was chosen on the same held-out images: expect slightly lower "
            "accuracy on new images."
        )
    if skipped := result.source.skipped:
        texts.append(f"{skipped} images could not be read and were skipped.")
    return " ".join(texts)


def _tables(verifications, values):
    if verifications:
        rows = [
            (_name(v), f"{v.max_difference:.1e}", "pass" if v.passed else "FAIL")
            for v in verifications
        ]
        head = ("file", "max. difference to the model", "verdict")
        yield "Exported files", [head, *rows]
    if values["phases"]:
        rows = [
            (
                p["title"],
                str(p["epochs"]),
                str(p["best_epoch"]),
                f"{p['val_loss']:.3f}",
                f"{p['val_accuracy']:.1%}",
            )
            for p in values["phases"]
        ]
        yield "Training", [("phase", "epochs", "best epoch", "loss", "accuracy"), *rows]


def _name(verification):
    return verification.file.rpartition("/")[2]
