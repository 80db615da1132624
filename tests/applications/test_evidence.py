"""The comparison of SE with its plain host, as a program."""

import json
import runpy
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "applications" / "ablations" / "evidence.py"

SE = "identity_start-True"  # the folder of the network with SE


@pytest.fixture
def program(modules):
    """What the program defines."""
    return runpy.run_path(str(PROGRAM), run_name="evidence")


@pytest.fixture
def finish(tmp_path, program):
    """Writes what a done training leaves behind."""

    def write(data, network, seed, error, **changes):
        (cell,) = (cell for cell in program["CELLS"] if cell.name == network)
        recipe = cell.recipe(program["BASES"][data], seed).to_json()
        recipe |= {"epochs": 12} | changes
        result = {"error": error, "parameters": 271_690, "multiply_adds": 41_220_000}
        result |= {"images": 10_000, "seconds": 30.0, "recipe": recipe}
        folder = tmp_path / "grid" / data / network / f"seed-{seed}"
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(result))

    return write


def test_the_table_of_known_results(tmp_path, run, finish, capsys):
    errors = {
        ("cifar10", SE): (9.0, 11.0),
        ("cifar10", "plain"): (12.0, 14.0),
        ("fashion_mnist", SE): (7.0, 7.0),
        ("fashion_mnist", "plain"): (6.5, 6.5),
    }
    for (data, network), values in errors.items():
        for seed, error in enumerate(values):
            finish(data, network, seed, error)
    page = tmp_path / "page.md"
    page.write_text("before <!-- evidence --> x <!-- end of the evidence --> after")
    run("--output", tmp_path / "grid", "--seeds", 0, 1, "--docs", page)
    assert "8 of 8 trainings were done before" in capsys.readouterr().out
    text = page.read_text()
    assert text.startswith("before")
    assert text.endswith("after")
    cost = "271,690 | 41.22"
    for row in (
        f"| CIFAR-10 | ResNet20 | {cost} | 87.00 ± 1.41 | 88.00, 86.00 |",
        f"| CIFAR-10 | SEResNet20 | {cost} | 90.00 ± 1.41 | 91.00, 89.00 |",
        f"| Fashion-MNIST | SEResNet20 | {cost} | 93.00 ± 0.00 | 93.00, 93.00 |",
        # Each pair of seeds has variance 2.
        "- CIFAR-10: +3.00 points with SE, standard error 1.41.",
        "- Fashion-MNIST: -0.50 points with SE, standard error 0.00.",
    ):
        assert row in text
    images = "40,000 images of CIFAR-10 and 10,000 images of Fashion-MNIST"
    assert f"after 12 epochs on {images}" in text
    assert (tmp_path / "grid" / "evidence.md").exists()


def test_results_of_another_recipe_are_refused(tmp_path, run, finish):
    finish("cifar10", SE, 0, 10.0, epochs=3)
    with pytest.raises(SystemExit, match="was trained with another one"):
        run("--output", tmp_path / "grid", "--seeds", 0)


def test_both_networks_differ_in_se_only(program):
    plain, se = (cell.changes for cell in program["CELLS"])
    assert (plain, se) == ({"se": False}, {"identity_start": True})
    for base in program["BASES"].values():
        assert base.model == "se_resnet20"
        assert "test" not in base.train_split + base.validation_split


@pytest.mark.slow
def test_smoke_can_be_repeated(tmp_path, run, capsys):
    words = ("--output", tmp_path, "--smoke", "--seeds", 0)
    run(*words)
    assert "4/4" in capsys.readouterr().out
    page = (tmp_path / "evidence.md").read_text()
    assert "not yet" not in page
    assert page.count("points with SE, of one seed.") == 2
    plain, se = (
        json.loads((tmp_path / "cifar10" / name / "seed-0" / "result.json").read_text())
        for name in ("plain", SE)
    )
    assert plain["parameters"] < se["parameters"]
    assert (plain["widths"], se["widths"]) == ([], [4, 8, 16])
    run(*words)
    assert "4 of 4 trainings were done before" in capsys.readouterr().out
