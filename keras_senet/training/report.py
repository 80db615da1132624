"""The report of a fine-tuning: report.json and report.md."""

import json
import math

import numpy as np

from keras_senet.evaluation import Evaluation
from keras_senet.training.datasets import count_images
from keras_senet.utils.files import atomic_path
from keras_senet.utils.markdown import in_markdown, markdown_table


def write_report(result, verifications=()) -> None:
    """Writes report.json and report.md into the run folder.

    Args:
        result: A `FinetuneResult`.
        verifications: `keras_senet.verify` reports of the exported files.
    """
    folder, evaluation = result.run_folder, result.evaluation
    values = {
        "data": result.source.name,
        "warnings": result.warnings,
        "accuracy": result.accuracy,
        "recipe": result.recipe.to_json(),
        "split": describe_split(result),
        "skipped_images": result.source.skipped,
        "classes": [
            {"name": name, "images": count, "weight": weight, "accuracy": accuracy}
            for name, count, weight, accuracy in _classes(result, evaluation)
        ],
        "probe": _probe(result),
        "phases": _phases(result.history),
        "evaluation": json.loads(evaluation.to_json()),
        "worst": result.worst,
        "verifications": [json.loads(report.to_json()) for report in verifications],
    }
    text = json.dumps(values, indent=2, ensure_ascii=False)
    for name, content in (
        ("report.json", text + "\n"),
        ("report.md", _markdown(result, verifications, values)),
    ):
        with atomic_path(folder / name, overwrite=True) as path:
            path.write_text(content, encoding="utf-8")


def describe_split(result) -> str:
    """Says which images the network was trained and which it was measured on."""
    recipe, source = result.recipe, result.source
    train, held_out = (
        source.part(split).images
        for split in (recipe.train_split, recipe.validation_split)
    )
    text = (
        f"Trained on {train:,} images ({recipe.train_split}), measured on {held_out:,} "
        f"others ({recipe.validation_split})."
    )
    alone = [
        name
        for name, count, _, measured in _rows(result)
        if count == 1 and measured == 0
    ]
    if alone:
        text += (
            " Of these classes the single image is trained on and nothing is measured: "
            f"{', '.join(alone)}."
        )
    return text


def _rows(result):
    held_out = count_images(result.source, result.recipe.validation_split)
    names = result.source.class_names
    counts, weights = result.image_counts, result.class_weights
    return zip(names, counts, weights, held_out, strict=True)


def _classes(result, evaluation):
    rows = list(_rows(result))
    if isinstance(evaluation, Evaluation):
        accuracies = evaluation.class_accuracy
    else:  # of one output for two classes: the same of both
        accuracies = np.broadcast_to(evaluation.accuracy, len(rows))
    for (name, count, weight, _), accuracy in zip(rows, accuracies, strict=True):
        yield name, count, weight, None if math.isnan(accuracy) else float(accuracy)


def _probe(result):
    probe = result.probe
    return probe and {
        "accuracy": probe.accuracy,
        "loss": probe.loss,
        "training_accuracy": probe.training_accuracy,
        "strength": probe.strength,
        "kept": result.keeps_probe,
    }


def _phases(history):
    rows = []
    for number, title in ((1, "new classifier"), (2, "all layers")):
        phases = history.get("phase", [2] * len(history["epoch"])) if history else []
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


def _markdown(result, verifications, values):
    recipe, evaluation = result.recipe, result.evaluation
    one_class = isinstance(evaluation, Evaluation)
    lines = [
        f"# {result.model.name} on {in_markdown(result.source.name)}",
        "",
        *(f"- Warning: {in_markdown(warning)}" for warning in result.warnings),
        *([""] if result.warnings else []),
        *_probe_lines(values),
        _figures(evaluation),
        "",
        f"{in_markdown(values['split'])} {_how_held_out(result)}",
    ]
    if recipe.patience is not None:
        lines += [
            "",
            "The epoch was chosen on the same held-out images, so expect a little less "
            "on images that nobody has looked at.",
        ]
    if result.source.skipped:
        lines += ["", f"{result.source.skipped} images could not be read: skipped."]
    if values["phases"]:
        columns = ("phase", ">epochs", ">best epoch", ">loss", ">top-1")
        rows = [
            (
                p["title"],
                p["epochs"],
                p["best_epoch"],
                f"{p['val_loss']:.3f}",
                f"{p['val_accuracy']:.1%}",
            )
            for p in values["phases"]
        ]
        lines += ["", markdown_table(columns, rows), "", "![curves](curves.png)"]
    columns = ("class", ">trained on", ">weight", ">top-1")
    rows = [
        (
            c["name"],
            c["images"],
            f"{c['weight']:.2f}",
            "-" if c["accuracy"] is None else f"{c['accuracy']:.1%}",
        )
        for c in values["classes"]
    ]
    lines += ["", markdown_table(columns, rows), ""]
    if one_class:
        shown = "[![worst mistakes](worst.png)](worst.html)"
        shown = shown if result.worst else "There are no mistakes."
        lines += ["![confusion](confusion.png)", "", shown, ""]
    if verifications and result.at_chance:
        lines += ["**These files are no better than chance.**", ""]
    if verifications:
        columns = ("exported file", ">max. difference", "verdict")
        rows = [
            (
                v.file.rpartition("/")[2],
                f"{v.max_difference:.1e}",
                "pass" if v.passed else "FAIL",
            )
            for v in verifications
        ]
        lines += [markdown_table(columns, rows), ""]
    return "\n".join(lines)


def _figures(evaluation):
    if not isinstance(evaluation, Evaluation):
        return f"{evaluation.summary()}."
    return (
        f"**{evaluation.top1:.1%}** of the held-out images right, "
        f"{evaluation.top5:.1%} among the first {evaluation.top_k}, loss "
        f"{evaluation.loss:.3f} nats, calibration error "
        f"{evaluation.calibration_error:.1%}."
    )


def _probe_lines(values):
    probe = values["probe"]
    if not probe:
        return []
    text = f"A linear probe gets **{probe['accuracy']:.1%}** of the held-out images."
    if values["phases"] and probe["kept"]:
        text += " Training all layers did not beat it: the probe is kept."
    return [text, ""]


def _how_held_out(result):
    share = result.recipe.held_out
    return (
        f"Where the data has no part for it, {share:.0%} of each class are held out, "
        "chosen by their names: the same ones every time."
    )
