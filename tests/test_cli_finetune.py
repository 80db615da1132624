"""`keras-senet finetune` on folders as they are."""

import csv
import json
import shlex

import keras
import numpy as np
import pytest
from PIL import Image

import keras_senet
from keras_senet.cli import main
from keras_senet.data.bundled import CLASS_NAMES, arrays
from keras_senet.training import TrainingStopped
from keras_senet.weights import save_weights

pytestmark = pytest.mark.skipif(
    not hasattr(keras.optimizers, "MultiOptimizer"),
    reason="`layer_decay`, a default of fine-tuning, needs Keras 3.15",
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A small network with five classes, as a file."""
    keras.utils.set_random_seed(1)
    model = keras_senet.SEResNet(
        block="basic",
        blocks=(1, 1, 1, 1),
        filters=(8, 8, 8, 8),
        stem_filters=(8,),
        reduction=4,
        weights=None,
        classes=5,
        input_shape=(32, 32, 3),
        include_preprocessing=True,
    )
    return save_weights(model, tmp_path_factory.mktemp("cli") / "tiny.weights.h5")


def photo(path, color, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 120, (40, 50, 3))
    Image.fromarray((noise + color).astype("uint8")).save(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two colours, nested, with umlauts, a broken file, and a class of one image."""
    root = tmp_path_factory.mktemp("photos") / "Fotos aus Köln"
    for i in range(10):
        photo(root / "Äpfel" / "grün" / f"Bild {i}.png", (0, 130, 0), i)
        photo(root / "Möwen" / f"{i}.jpg", (0, 0, 130), 10 + i)
    photo(root / "Einzelstück" / "1.jpg", (130, 0, 0), 99)
    (root / "Möwen" / "kaputt.jpg").write_bytes(b"not an image")
    return root


@pytest.fixture(scope="module")
def run(folder, weights, tmp_path_factory):
    """The run folder of a fine-tuning, and its exit code."""
    path = tmp_path_factory.mktemp("runs") / "run"
    words = ["finetune", folder, "--weights", weights, "--run-folder", path]
    words += ["--head-epochs", 6, "--epochs", 1, "--head-learning-rate", 0.05]
    words += ["--global-batch-size", 8, "--patience", 9]
    with (
        pytest.warns(UserWarning, match="1 images below .* are skipped"),
        pytest.warns(UserWarning, match="only one image"),
    ):
        code = main([str(word) for word in words])
    return path, code


def test_a_folder_of_real_life(run):
    path, code = run
    assert code == 0
    report = json.loads((path / "report.json").read_text(encoding="utf-8"))
    classes = {row["name"]: row for row in report["classes"]}
    assert list(classes) == ["Einzelstück", "Möwen", "Äpfel"]
    assert [row["images"] for row in classes.values()] == [1, 8, 8]
    # 17 images in three classes.
    expected = [17 / 3, 17 / 24, 17 / 24]
    assert [row["weight"] for row in classes.values()] == pytest.approx(expected)
    assert classes["Einzelstück"]["accuracy"] is None
    assert report["skipped_images"] == 1
    assert report["evaluation"]["images"] == 4
    assert "Trained on 17 images (train), measured on 4" in report["split"]
    assert "nothing is measured: Einzelstück." in report["split"]
    assert [phase["epochs"] for phase in report["phases"]] == [6, 1]


def test_the_report_for_people(run):
    path, _ = run
    text = (path / "report.md").read_text(encoding="utf-8")
    assert "Fotos aus Köln" in text
    assert "| Einzelstück | 1 | 5.67 | - |" in text
    with open(path / "classes.csv", encoding="utf-8", newline="") as file:
        row = next(csv.DictReader(file))
    assert row == {
        "class": "Einzelstück",
        "trained on": "1",
        "weight": "5.67",
        "top-1": "nan",
    }
    assert "1 images could not be read" in text
    assert "20% of the images are held out" in text
    for picture in ("curves.png", "confusion.png"):
        assert f"({picture})" in text
        assert (path / picture).stat().st_size > 5_000
    for page in ("worst.png", "worst.html"):
        assert (f"({page})" in text) == (path / page).exists()
    page = (path / "report.html").read_text(encoding="utf-8")
    answer = page[: page.index("<figure>")]
    for words in (
        "of 4 images are right",
        "Warning: Fewer than",
        "no better than chance",
    ):
        assert words in answer
    assert "<td>model.tflite</td>" in page
    assert "http" not in page


@pytest.mark.slow
def test_a_stopped_run_names_a_command_that_works(run, monkeypatch, capsys):
    """Here of a run that has only the report left to write."""
    path, _ = run

    def stop(*arguments, **options):
        raise TrainingStopped("Stopped by SIGTERM in epoch 7.")

    words = ["finetune", "--run-folder", str(path), "--resume"]
    with monkeypatch.context() as patch:
        patch.setattr("keras_senet.training.finetune", stop)
        assert main(words) == 143
    text, _, command = capsys.readouterr().out.partition("To resume: ")
    assert text == "Stopped by SIGTERM in epoch 7. "
    assert shlex.split(command) == ["keras-senet", *words]
    (path / "report.md").unlink()
    with pytest.warns(UserWarning, match="only one image|are skipped"):
        assert main(shlex.split(command)[1:]) == 0
    assert (path / "report.md").exists()


def test_its_files_are_verified(run, weights):
    path, _ = run
    report = json.loads((path / "report.json").read_text(encoding="utf-8"))
    proofs = {proof["file"].split("/")[-1]: proof for proof in report["verifications"]}
    assert set(proofs) == {"saved_model", "model.tflite"}
    assert all(proof["passed"] and proof["images"] == 4 for proof in proofs.values())
    exported = keras_senet.evaluate(path / "export" / "model.tflite", _arrays())
    assert exported.class_names == ("Einzelstück", "Möwen", "Äpfel")
    model = keras.saving.load_model(path / "model.keras")
    assert exported.loss == pytest.approx(
        keras_senet.evaluate(model, _arrays()).loss, rel=1e-3
    )


def test_the_run_folder_lies_outside_of_the_images(folder, weights, capsys):
    words = ["finetune", folder, "--weights", weights]
    words += ["--run-folder", folder / "runs" / "a"]
    with pytest.warns(UserWarning, match=r"are skipped|only one image"):
        assert main(list(map(str, words))) == 1
    assert "must not lie in the folder of the images" in capsys.readouterr().err
    assert not (folder / "runs").exists()


def _arrays():
    images = np.random.default_rng(0).uniform(0, 255, (6, 32, 32, 3))
    return images.astype("float32"), np.arange(6) % 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{one}"], "has one class folder, 'Äpfel'. A classifier needs at least two"),
        (["{one}/nowhere"], "nowhere"),
        ([""], "Received: '', which is none of them"),
        (["bundled", "--data", "photos"], "the data is the first argument"),
        (["bundled", "--layer-decay", "2"], "Received: layer_decay=2.0"),
        (["bundled", "--model", "se_resnet5"], "Did you mean"),
        (["bundled", "--weights", "no/where.h5"], "no/where.h5"),
    ],
)
def test_errors_are_one_line(words, message, tmp_path, capsys):
    photo(tmp_path / "one" / "Äpfel" / "1.png", (0, 99, 0), 0)
    photo(tmp_path / "one" / "Äpfel" / "2.png", (0, 99, 0), 1)
    words = [word.format(one=tmp_path / "one") for word in words]
    run_folder = tmp_path / "run"
    code = main(["finetune", *words, "--run-folder", str(run_folder)])
    (line,) = capsys.readouterr().err.splitlines()
    assert code in (1, 2)
    assert message in line
    assert not run_folder.exists()


@pytest.fixture(scope="module")
def clothes(tmp_path_factory):
    """40 enlarged JPEGs of each of four classes, from the images in the package."""
    root = tmp_path_factory.mktemp("small") / "clothes"
    found = arrays()
    for label in (1, 5, 8, 9):
        folder = root / CLASS_NAMES[label]
        folder.mkdir(parents=True)
        images = found["x_train"][found["y_train"] == label][:40]
        for i, image in enumerate(images):
            picture = Image.fromarray(image).resize((96, 96), Image.Resampling.BICUBIC)
            picture.save(folder / f"{i}.jpg", quality=95)
    return root


@pytest.mark.slow
def test_a_small_folder_with_no_option(clothes, tmp_path, capsys):
    """The network has seen these very images: nearly all have to be right."""
    words = ["finetune", clothes, "--model", "se_resnet20"]
    words += ["--weights", "fashion_mnist", "--run-folder", tmp_path / "run"]
    assert main([*map(str, words), "--probe", "--no-export"]) == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["probe"]["accuracy"] >= 0.97
    assert report["accuracy"] == pytest.approx(report["probe"]["accuracy"])
    assert report["probe"]["kept"]
    assert report["phases"] == []
    out = " ".join(capsys.readouterr().out.split())
    assert f"{report['probe']['accuracy']:.1%} of the held-out" in out
    text = (tmp_path / "run" / "report.md").read_text()
    assert "The linear probe has an accuracy of" in text
    assert "Warning" not in text


@pytest.mark.slow
def test_all_layers_from_the_probe(clothes, tmp_path):
    """Two epochs of it: what is better on held-out images is kept."""
    result = keras_senet.training.finetune(
        clothes,
        tmp_path / "run",
        model="se_resnet20",
        weights="fashion_mnist",
        epochs=2,
        verbose=0,
    )
    assert min(result.accuracy, result.probe_accuracy) >= 0.97
    assert result.accuracy >= result.probe_accuracy
    assert result.report.exists()
    assert result.evaluation.images == 32
