"""Compares trainings with the fused kernels and with Keras' own, seed by seed.

    python scripts/compare_fused.py --runs runs/fused

The quickstart's recipe, on the bundled images; what is in the folder already is not
repeated. Writes the table of docs/performance.md between its markers.
"""

import argparse
import dataclasses
import json
import pathlib
import statistics

import keras_senet
from keras_senet.training import RECIPES, train
from keras_senet.utils.files import atomic_path
from keras_senet.utils.markdown import markdown_table
from keras_senet.utils.pages import write_block

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "performance.md"


def accuracy(folder: pathlib.Path, seed: int, fused: bool) -> float:
    """Returns the accuracy on the held-out images, per cent, of one training."""
    result = folder / "evaluation.json"
    if not result.exists():
        recipe = RECIPES["quickstart"]
        arguments = {**recipe.model_arguments, "fused": fused}
        recipe = dataclasses.replace(recipe, seed=seed, model_arguments=arguments)
        resume = (folder / "recipe.json").exists()
        model = train(recipe, folder, resume=resume, verbose=2).model
        with atomic_path(result) as file:
            file.write_text(keras_senet.evaluate(model, recipe.data).to_json())
    return 100 * json.loads(result.read_text(encoding="utf-8"))["top1"]


def table(accuracies: dict[bool, list[float]]) -> str:
    """Returns the accuracies as a Markdown table."""
    seeds = (f"seed {seed}" for seed in range(len(accuracies[True])))
    rows = [
        (
            "fused" if fused else "Keras' own",
            *(f"{value:.1f} %" for value in values),
            f"{statistics.mean(values):.2f} %",
        )
        for fused, values in accuracies.items()
    ]
    return markdown_table(("batch normalization", *seeds, "mean"), rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("runs/fused"))
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    accuracies = {True: [], False: []}
    for seed in range(arguments.seeds):
        for fused, values in accuracies.items():
            name = f"{'fused' if fused else 'keras'}_{seed}"
            values.append(accuracy(arguments.runs / name, seed, fused))
    write_block(PAGE, "fused trainings", table(accuracies))
    print(table(accuracies))


if __name__ == "__main__":
    main()
