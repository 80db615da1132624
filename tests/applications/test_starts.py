"""How SE starts and learns, as a program."""

import importlib
import json
import runpy
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_senet import SqueezeExcite

PROGRAM = Path(__file__).parents[2] / "applications" / "ablations" / "starts.py"


@pytest.fixture
def program(modules):
    """What the program defines."""
    return runpy.run_path(str(PROGRAM), run_name="starts")


@pytest.fixture
def finish(tmp_path, program):
    """Writes what done trainings leave behind, one error a seed."""

    def write(kind, key, errors, **uses):
        base = program["BASE" if kind == "starts" else "SHORT"]
        for seed, error in enumerate(errors):
            recipe = program["WAYS"][key].recipe(base, seed).to_json()
            result = {"error": error, "parameters": 271_690, "seconds": 30.0}
            result |= {"images": 5_000, "recipe": recipe}
            result |= {"uses": uses} if uses else {}
            folder = tmp_path / kind / key / f"seed-{seed}"
            folder.mkdir(parents=True)
            (folder / "result.json").write_text(json.dumps(result))

    return write


USES = {"layers": 9, "dispensable": 2, "identity": 3.5, "mean": 1.25}
USES |= {"distance": 0.5, "spread": 0.125}
SHOWN = "3.50 | 1.25 | 2.0 of 9 | 0.500 | 0.125 |"


def test_the_best_of_the_new_ways_is_chosen(tmp_path, run, finish, capsys):
    finish("ways", "plain", (30.0, 32.0))
    finish("ways", "identity", (20.0, 22.0), **USES)
    finish("ways", "near", (25.0, 27.0), **USES)
    finish("ways", "near-free", (24.0, 26.0), **USES)
    words = ("--output", tmp_path, "--seeds", 0, 1, "--only")
    run(*words, "identity", "near", "near-free")
    assert "8 of 8 trainings were done before" in capsys.readouterr().out
    text = (tmp_path / "ways.md").read_text()
    for row in (
        "| no SE | 271,690 | 69.00 ± 1.41 | 70.00, 68.00 |  |  |  |  |  |  |",
        f"| identity | 271,690 | 79.00 ± 1.41 | 80.00, 78.00 | +10.00 ± 1.41 | {SHOWN}",
        f"| 74.00 ± 1.41 | 75.00, 73.00 | +5.00 ± 1.41 | {SHOWN}",
        "Best of the new ways: `near-free`.",
    ):
        assert row in text
    assert "10,000 training images, 10 epochs" in text
    assert "5,000 held-out images" in text


def test_a_gain_is_of_the_seeds_that_both_have(program, finish, tmp_path):
    finish("ways", "plain", (30.0, 34.0))
    finish("ways", "near", (29.0, 31.0))
    finish("ways", "near-free", (28.0,))
    finish("ways", "identity-fast", ())
    starts = program["Starts"](output=tmp_path, seeds=(0, 1))
    starts.write(starts.ways(), starts.base(), tmp_path / "ways")
    text = (tmp_path / "ways.md").read_text()
    assert "| 70.00 ± 1.41 | 71.00, 69.00 | +2.00 ± " in text
    assert "| 72.00 | 72.00 | +2.00 ± " in text  # and not 32 - 28
    assert "Best of the new ways: `near`." in text  # the other has one seed


def test_the_best_way_is_compared(tmp_path, run, finish):
    for key, error in (("plain", 9.0), ("paper", 8.5), ("identity", 8.0)):
        finish("starts", key, (error,))
    finish("starts", "near-fast", (7.5,), **USES)
    page = tmp_path / "page.md"
    page.write_text("before <!-- starts --> x <!-- end of the starts --> after")
    words = ("--output", tmp_path, "--seeds", 0, "--docs", page)
    run(*words, "--best", "near-fast")
    text = page.read_text()
    assert "all training images, 40 epochs" in text
    assert "test images, used once" in text
    assert f"| 92.50 | 92.50 | +1.50 | {SHOWN}" in text
    assert "Best of" not in text
    with pytest.raises(SystemExit, match=r"must be of plain, paper.*Received: far"):
        run(*words, "--best", "far")


def test_test_images_choose_nothing(program):
    short, long = program["SHORT"], program["BASE"]
    for recipe in (short, long):
        assert "test" not in recipe.train_split + recipe.validation_split
    assert short.train_split == long.train_split == "train[:90%]"
    assert program["HELD_OUT"] == long.validation_split == "train[90%:]"


def test_ways_do_what_they_say(program):
    ways, base = program["WAYS"], program["SHORT"]
    fast = ways["identity-fast"].recipe(base, 3)
    arguments = {"reduction": 4, "identity_start": True}
    assert (fast.model_arguments, fast.seed) == (arguments, 3)
    assert (fast.se_decay, fast.se_rate_factor) == (False, 5.0)
    usual = ways["near"].recipe(base, 3)
    assert (usual.se_decay, usual.se_rate_factor) == (True, 1.0)
    assert ways["identity"].callbacks() == []


def test_drawn_kernels(program):
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((2, 2, 8))
    x = SqueezeExcite(2, identity_start=True, name="se")(x)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    model.compile(keras.optimizers.SGD(1e-3), "mse")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 2, 2, 8)), rng.normal(size=(8, 8))
    found = []
    for _ in range(2):
        callbacks = program["WAYS"]["near"].callbacks()
        model.fit(x, y, shuffle=False, verbose=0, callbacks=callbacks)
        found.append(np.array(model.get_layer("se").expand.kernel))
    assert np.std(found[0]) == pytest.approx((2 / 4) ** 0.5, rel=0.5)
    # A training that is resumed keeps what it has.
    np.testing.assert_allclose(found[1], found[0], atol=0.02)


@pytest.mark.slow
def test_smoke_can_be_repeated(tmp_path, run, capsys):
    words = ("--output", tmp_path, "--smoke", "--seeds", 0, "--only", "near-fast")
    run(*words)
    assert "2/2" in capsys.readouterr().out
    page = (tmp_path / "ways.md").read_text()
    assert "of 9" in page
    grid = importlib.import_module("grid")
    result = json.loads((tmp_path / "ways/near-fast/seed-0" / grid.RESULT).read_text())
    assert result["uses"]["layers"] == 9
    run(*words)
    assert "2 of 2 trainings were done before" in capsys.readouterr().out
