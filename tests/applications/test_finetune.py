"""The comparison of fine-tuning with training from scratch, as a program."""

import json
import runpy
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "applications" / "finetune"
PROGRAM = FOLDER / "main.py"


@pytest.mark.parametrize(("images", "epochs"), [(100, 60), (500, 12)])
def test_both_see_the_same_images_as_often(images, epochs):
    values = runpy.run_path(str(FOLDER / "recipe.py"))
    tuned, scratch = (
        values["with_budget"](values[name], images) for name in ("recipe", "scratch")
    )
    assert 0 < tuned.head_epochs < tuned.epochs
    assert scratch.head_epochs == 0
    for recipe in (tuned, scratch):
        assert recipe.head_epochs + recipe.epochs == epochs
        assert epochs * images == 300 * recipe.global_batch_size
    assert scratch.weights is None
    assert not scratch.freeze_batch_norm
    for name in ("model", "global_batch_size", "augmentation", "patience"):
        assert getattr(tuned, name) == getattr(scratch, name)


def finish(folder, arm, images, accuracies):
    """Writes what done cells leave behind, as the program itself would name them."""
    values = runpy.run_path(str(FOLDER / "recipe.py"))
    recipe = values["recipe" if arm == "pre-trained" else "scratch"]
    recipe = values["with_budget"](recipe, 10 * images).to_json()
    if arm != "pre-trained":
        recipe["learning_rate"] = float(arm.rpartition("-")[2])
    for seed, top1 in enumerate(accuracies):
        first, last = (10 * images * n for n in (seed, seed + 1))
        changes = {"train_split": f"train[{first}:{last}]", "seed": seed}
        cell = folder / arm / f"images-{images}" / f"seed-{seed}"
        cell.mkdir(parents=True)
        result = {"top1": top1, "test_data": "bundled", "recipe": {**recipe, **changes}}
        (cell / "result.json").write_text(json.dumps(result))


@pytest.fixture
def done(tmp_path):
    finish(tmp_path, "pre-trained", 10, [0.60, 0.64])
    finish(tmp_path, "scratch-0.003", 10, [0.55, 0.53])
    finish(tmp_path, "scratch-0.01", 10, [0.40, 0.40])
    return tmp_path


def test_table_of_known_results(done, run, capsys):
    docs = done / "docs.md"
    docs.write_text("before <!-- comparison --> <!-- end of the comparison --> after")
    run("--output", done, "--images", 10, "--seeds", 0, 1, "--docs", docs)
    assert capsys.readouterr().out.count(": was done") == 6
    for page in (done / "finetune.md", docs):
        text = page.read_text()
        assert "| 10 | pre-trained | 62.00 | 2.83 | 60.00, 64.00 |" in text
        assert "| 10 | scratch 0.003 | 54.00 | 1.41 | 55.00, 53.00 |" in text
        assert (
            "10 images per class, pre-training changes the accuracy by +8.00 points"
            in text
        )
    rows = json.loads((done / "finetune.json").read_text())
    assert [row["arm"] for row in rows][::2] == ["pre-trained", "scratch 0.01"]


def test_another_recipe_is_refused(done, run):
    with pytest.raises(SystemExit, match="which was made with others"):
        run("--output", done, "--images", 10, "--seeds", 0, "--weights", "other")


@pytest.mark.slow
def test_smoke_can_be_repeated(tmp_path, run, capsys):
    run("--output", tmp_path, "--smoke")
    assert capsys.readouterr().out.count(": done") == 2
    page = (tmp_path / "finetune.md").read_text()
    assert page.count("| 1 | ") == 2
    run("--output", tmp_path, "--smoke")
    assert capsys.readouterr().out.count(": was done") == 2
    cell = tmp_path / "pre-trained" / "images-1" / "seed-0"
    assert (cell / "curves.png").exists()
    assert not [path for path in cell.parent.iterdir() if path.name != "seed-0"]
