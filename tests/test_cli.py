"""The command line: exit codes, messages, and the whole chain in small."""

import dataclasses
import io
import json
import sys
import types

import keras
import numpy as np
import pytest
from conformance import cases

import keras_senet
from keras_senet.cli import command, evaluate, main, predict, train
from keras_senet.cli.command import VERBS
from keras_senet.cli.console import make_console
from keras_senet.opening import open_model
from keras_senet.training import RECIPES, TrainingStopped, load_recipe
from keras_senet.weights import network_card, opening, save_model, save_weights

SMALL = {"block": "basic", "blocks": [1] * 4, "filters": [16, 16, 32, 32]}
SMALL |= {"stem_filters": [16], "reduction": 4}
GREY = keras_senet.Preprocessing(image_size=28, mean=(0.5,), std=(0.25,))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The run folder of a quickstart, of a network that is exported in less time."""
    folder = tmp_path_factory.mktemp("cli") / "quickstart"
    small = {"model": "se_resnet", "model_arguments": SMALL}
    recipe = dataclasses.replace(RECIPES["quickstart"], **small)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, "quickstart", recipe)
        assert main(["quickstart", "--smoke", "--run-folder", str(folder)]) == 0
    return folder


@pytest.fixture
def photo(tmp_path):
    from PIL import Image

    path = tmp_path / "a photo.png"
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), "uint8")
    Image.fromarray(pixels).save(path)
    return path


def assert_error(result, message, code=1):
    assert result[0] == code
    (line,) = result[2].splitlines()
    assert line.startswith("keras-senet: error: ")
    assert message in line


def test_version_and_help(shell):
    assert shell("--version") == (0, f"keras-senet {keras_senet.__version__}\n", "")
    code, out, _ = shell("--help")
    assert code == 0
    assert all(f"  {verb} " in out for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb(shell, verb):
    code, out, err = shell(verb, "--help")
    assert (code, err) == (0, "")
    assert f"usage: keras-senet {verb}" in out


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "a command is missing"),
        (["trian"], "unknown command 'trian'. Did you mean 'train'?"),
        (["train"], "--run-folder"),
        (["train", "--run-folder", "x", "--epoch", "3"], "Did you mean '--epochs'?"),
        (
            ["train", "--run-folder", "x", "--model", "se_resnet20", "--ratio", "16"],
            "Did you mean '--reduction'?",
        ),
        (["train", "--run-folder", "x", "--epochs", "0"], "epochs=0"),
        (["train", "--run-folder", "x", "--reduction", "0.25"], "0.25"),
        (["train", "--run-folder", "x", "--alpha", "0.5"], "Received: 'alpha'"),
        (["train", "--run-folder", "x", "--schedule", "cosin"], "choice 'cosin'"),
        (["export", "x", "--output", "y", "--quantization", "fp16"], "mean 'float16'?"),
        (["train", "--run-folder", "x", "--model", "se_resnet5"], "Did you mean 'se_r"),
        (["train", "--recipe"], "The recipes are: quickstart"),
        (["predict", "--model", "x"], "images are missing"),
        (["export", "x"], "--output"),
        (["list", "a", "b"], "b"),
    ],
)
def test_usage(shell, words, message, encoding, monkeypatch):
    # The library that reads the words draws its messages to fit this encoding.
    output = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", output)
    code = 1 if "alpha" in message else 2  # the network is asked, and it is built
    assert_error(shell(*words), message, code)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["info", "se_resnet5"], "Did you mean 'se_resnet56'?"),
        (["info", "none.keras"], "There is no model 'none.keras'"),
        (["evaluate", "se_resnet20"], "needs weights here"),
        (["evaluate", "se_resnet50"], "needs weights here"),
        (
            ["evaluate", "se_resnet20.cifar10", "--precision", "bfloat16"],
            "only for an .xml file of OpenVINO",
        ),
        (["convert", "se_resnet20.cifar1", "x.keras"], "Did you mean 'se_resnet20.cif"),
        (
            ["export", "se_resnet20.cifar10", "--output", "x.h5"],
            "a .tflite, .onnx or .xml file",
        ),
        (
            ["export", "se_resnet20.cifar10", "--output", "x", "--io-type", "int8"],
            "must end in .tflite. Received: 'x', io_type='int8'",
        ),
        (
            ["export", "se_resnet20.cifar10", "--output", "x.tflite"]
            + ["--quantization", "int8"],
            "Received: no --data, and a model with other classes",
        ),
        (
            ["export", "se_resnet20.cifar10", "--output", "x.tflite", "--split", "y"],
            "Received: split='y'",
        ),
        (["list", "se_resnet5"], "Did you mean 'se_resnet56'?"),
        (["train", "--recipe", "cifar1", "--run-folder", "x"], "Did you mean 'cifar10"),
        (["train", "--recipe", "no.json", "--run-folder", "x"], "'no.json'"),
        (["train", "--run-folder", "x", "--resume"], "x"),
        (["predict", "x.png", "--model", "x", "--top", "0"], "`top` must be a positi"),
        (
            ["evaluate", "se_resnet20.cifar10", "--data-dir", "y"],
            "Received: 'bundled', data_dir='y'",
        ),
        (
            ["export", "se_resnet20.cifar10", "--output", "X.TFLITE"],
            "must end in .tflite. Received: 'X.TFLITE'",
        ),
        (
            ["export", "se_resnet20.cifar10", "--output", "x", "--data-dir", "y"]
            + ["--images", "0"],
            "`data`, `data_dir` and `split` are for the verification",
        ),
        (["list", "se_vgg16", "--weights"], "Received: se_vgg16, which have none"),
    ],
)
def test_errors(shell, words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_error(shell(*words), message)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("verb", ["evaluate", "explain"])
def test_an_output_in_a_file_is_found_at_once(shell, tmp_path, verb):
    (tmp_path / "file").touch()
    words = [verb, "no.keras", "--output", tmp_path / "file" / "new" / "x"]
    assert_error(shell(*words), f"but {str(tmp_path / 'file')!r} is a file")


def test_the_last_of_two_recipes_counts():
    words = ["--recipe", "quickstart", "--recipe=cifar10", "--run-folder", "x"]
    parsed = train.parse(words)
    assert (parsed.recipe, parsed.values) == ("cifar10", load_recipe("cifar10"))


def test_paths_begin_at_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert train.parse(["--run-folder=~/x"]).run_folder == tmp_path / "x"


def test_a_stopped_run_is_resumed_with_its_options(tmp_path, capsys):
    def stop(*arguments, **options):
        raise TrainingStopped("Stopped.")

    (tmp_path / "recipe.json").touch()
    options = {"data_dir": None, "resume": False, "checkpoint_every": 9}
    options |= {"run_folder": tmp_path, "export": False}
    verb = types.SimpleNamespace(**options)
    assert train.run_training(verb, "finetune", make_console(), stop) is None
    assert "--resume --checkpoint-every 9 --no-export\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("module", "hint"), [("helpers", ""), ("tf2onnx.x", "install tf2onnx")]
)
def test_only_packages_of_ours_are_to_be_installed(module, hint):
    error = ModuleNotFoundError(f"No module named {module!r}", name=module)
    text = command._describe(error, debug=False)
    assert ("pip install" in text, hint in text) == (bool(hint), True)


def test_lines_of_a_file_are_not_broken(capsys):
    make_console().print(f"Written to {'long name/' * 30}")
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_outputs_without_names_are_numbered(tmp_path):
    assert predict._names(None, 1000, "x") == [*map(str, range(1000))]
    (tmp_path / "names.txt").write_text("cat\ndog\n\n \n")
    assert predict._read_labels(tmp_path / "names.txt") == ("cat", "dog")
    (tmp_path / "NAMES.JSON").write_text('["cat", "dog"]')
    assert predict._read_labels(tmp_path / "NAMES.JSON") == ("cat", "dog")
    (tmp_path / "names.json").write_text('["cat", ["dog"]]')
    with pytest.raises(ValueError, match="JSON list of class names"):
        predict._read_labels(tmp_path / "names.json")


def test_of_two_classes_top_1_is_shown_once():
    figures = {"top1": 0.5, "top5": 0.5, "top_k": 1, "calibration_error": 0.1}
    figures |= {"images": 2, "image_size": (8, 8), "loss": 1, "images_per_second": 3}
    rows = evaluate._figures(types.SimpleNamespace(**figures))
    assert [name for name, _ in rows if "top" in name] == ["top-1 accuracy"]


@pytest.mark.parametrize("reduction", ["0", "-1"])
def test_reduction_has_a_remedy(shell, tmp_path, reduction):
    folder = tmp_path / "run"
    result = shell("train", "--run-folder", folder, "--reduction", reduction)
    assert_error(result, "1/4 is reduction=4")
    assert not folder.exists()


def test_debug_shows_the_traceback(shell):
    code, _, err = shell("info", "se_resnet5", "--debug")
    assert code == 1
    assert err.startswith("Traceback")
    assert err.splitlines()[-1].startswith("keras-senet: error: ")


def test_a_bug_is_told_from_a_mistake(shell, monkeypatch):
    monkeypatch.setattr(command, "_usage", lambda: {}["nothing"])
    assert_error(shell("--help"), "KeyError: 'nothing' (--debug shows where)")


def test_interrupt(shell, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_usage", interrupt)
    assert_error(shell("--help"), "interrupted", code=130)


def test_list_knows_constructors(shell):
    assert "se_vgg16" in shell("list", "SEVGG*")[1]


def test_list(shell):
    code, out, _ = shell("list", "se_resnet*0")
    assert code == 0
    assert "276,415" in out
    assert "se_resnet110" in out
    assert "se_resnet18" not in out


def test_info_of_a_network(shell, monkeypatch):
    """Of one whose default is trained weights too, without fetching them."""
    monkeypatch.setattr(opening, "fetch", lambda preset: pytest.fail(preset.name))
    for name, parameters in (("se_resnet20", "276,415"), ("se_resnet50", "28,141,144")):
        code, out, _ = shell("info", name)
        assert code == 0
        assert parameters in out
    assert "architecture: reduction" in out


def test_train_smoke_with_a_recipe_of_ones_own(shell, tmp_path):
    recipe = tmp_path / "mine.json"
    values = {"model": "se_resnet", "model_arguments": SMALL, "image_size": 32}
    recipe.write_text(json.dumps(values))
    folder = tmp_path / "run"
    words = ["train", "--recipe", recipe, "--run-folder", folder, "--smoke"]
    code, out, err = shell(*words, "--reduction", "2")
    assert (code, err) == (0, "")
    assert "epoch   2/2" in out
    values = json.loads((folder / "recipe.json").read_text())
    assert values["model_arguments"]["reduction"] == 2
    assert values["model_arguments"]["blocks"] == [1, 1, 1, 1]
    assert_error(shell(*words), "which holds a run")
    # All its epochs are done: there is nothing left to train.
    assert shell("train", "--run_folder", folder, "--resume")[0] == 0
    assert_error(
        shell(*words[:-1], "--resume", "--epochs", "9"), "epochs is 2 in the run and 9"
    )


def test_quickstart_writes_everything(run):
    written = {str(path.relative_to(run)) for path in run.rglob("*")}
    assert {
        "curves.png",
        "confusion.png",
        "predictions.png",
        "report.json",
        "model.keras",
        "export/saved_model/saved_model.pb",
        "export/float32.tflite",
        "export/float16.tflite",
        "export/dynamic.tflite",
        "export/int8.tflite",
    } <= written


def test_quickstart_proves_its_files(run):
    report = json.loads((run / "report.json").read_text())
    assert report["passed"] is True
    assert set(report["seconds"]) == {"train", "evaluate", "export", "verify"}
    proofs = {proof["file"].split("/")[-1]: proof for proof in report["verifications"]}
    assert set(proofs) == {
        "saved_model",
        "float32.tflite",
        "float16.tflite",
        "dynamic.tflite",
        "int8.tflite",
    }
    assert proofs["float32.tflite"]["max_difference"] <= 1e-4
    assert proofs["int8.tflite"]["agreement"] > 0.85
    # Better than chance by far, also after a few steps.
    assert report["evaluation"]["top1"] > 0.3


def test_quickstart_fails_when_a_file_does(tmp_path, capsys, monkeypatch):
    """The exit code says so, and so does the table."""
    from keras_senet.cli import reports
    from keras_senet.cli.console import make_console
    from keras_senet.cli.quickstart import Quickstart
    from keras_senet.training import RECIPES

    class Proof:
        images, file, size_bytes = 10, "x/int8.tflite", 1000
        file_accuracy = model_accuracy = agreement = 0.5
        file_latency = model_latency = None
        max_difference, passed = 1.0, False

        def summary(self):
            return "x/int8.tflite differs"

        def to_json(self):
            return "{}"

    class Result:
        images_per_second = 1.0
        model = source = None
        recipe = RECIPES["quickstart"]

    monkeypatch.setattr(Quickstart, "_train", lambda *_: Result)
    monkeypatch.setattr("keras_senet.evaluation.evaluate", lambda *_, **__: Evaluation)
    monkeypatch.setattr(Quickstart, "_export", lambda *_: [])
    monkeypatch.setattr(Quickstart, "_verify", lambda *_: [Proof()])
    (tmp_path / "model.keras").write_bytes(b"")

    class Evaluation:
        top1 = 0.5

        @staticmethod
        def to_json():
            return "{}"

        @staticmethod
        def save_confusion_picture(path):
            path.write_bytes(b"")

    assert main(["quickstart", "--run-folder", str(tmp_path)]) == 1
    assert "FAIL: x/int8.tflite differs" in capsys.readouterr().out
    assert json.loads((tmp_path / "report.json").read_text())["passed"] is False
    reports.print_verifications(make_console(), [Proof()])
    assert "FAIL" in capsys.readouterr().out


def test_quickstart_refuses_a_used_folder(shell, run):
    before = sorted(path.stat().st_mtime_ns for path in run.rglob("*"))
    result = shell("quickstart", "--run-folder", run)
    assert result[0] == 1
    assert "which holds a run" in result[2]
    assert "resume" not in result[2], "quickstart has no such option"
    assert sorted(path.stat().st_mtime_ns for path in run.rglob("*")) == before


@pytest.mark.parametrize("file", ["", "export/int8.tflite", "export/saved_model"])
def test_predict(shell, run, photo, file):
    code, out, err = shell("predict", photo, photo, "--model", run / file)
    assert (code, err) == (0, "")
    assert out.count("a photo.png") == 2
    assert out.count(" %") == 10
    assert "Bag" in out or "Shirt" in out


@pytest.fixture
def networks(randomize):
    """Makes small networks with the same weights and different arguments."""

    def make(*arguments):
        shape = {"classes": 10, "input_shape": (28, 28, 1)}
        models = [cases.build("small", **shape, **given) for given in arguments]
        weights = randomize(models[0]).get_weights()
        for model in models:
            model.set_weights(weights)
        return models

    return make


def test_predict_normalises_where_the_model_does_not(shell, photo, tmp_path, networks):
    whole, bare, unknown = networks({"include_preprocessing": GREY}, {}, {})
    bare.preprocessing = GREY
    outputs = []
    for model in (whole, bare, unknown):
        file = tmp_path / f"{len(outputs)}.tflite"
        keras_senet.export_tflite(model, file)
        outputs.append(shell("predict", photo, "--model", file))
    assert outputs[0] == outputs[1]
    assert outputs[0][0] == 0
    assert_error(outputs[2], "does not normalize them")


def test_predict_names_the_classes_of_a_preset(shell, photo):
    code, out, _ = shell("predict", photo, "--model", "se_resnet20.fashion_mnist")
    assert code == 0
    assert "Bag" in out or "Shirt" in out


def test_predict_gives_probabilities_of_logits(shell, photo, tmp_path, networks):
    arguments = [{"classifier_activation": name} for name in ("softmax", None)]
    outputs = []
    for model in networks(*({**a, "include_preprocessing": GREY} for a in arguments)):
        file = save_model(model, tmp_path / f"{len(outputs)}.keras")
        outputs.append(shell("predict", photo, "--model", file)[1])
    assert outputs[0] == outputs[1]
    assert outputs[0].count(" %") == 5


def test_predict_and_its_pictures_may_have_two_sides(shell, photo, tmp_path):
    from PIL import Image

    model = keras_senet.SEResNet20(
        include_preprocessing=True, input_shape=(24, 40, 3), weights=None
    )
    save_model(model, tmp_path / "wide.keras")
    image = keras_senet.data.read_image(photo)
    record = model.preprocessing
    fitted = keras_senet.data.resize_and_crop(
        image,
        (24, 40),
        crop_fraction=record.crop_fraction,
        interpolation=record.interpolation,
    )
    best = float(model.predict(fitted[np.newaxis], verbose=0).max())
    words = ("predict", photo, "--model", tmp_path / "wide.keras")
    code, out, err = shell(*words, "--explain")
    assert code == 0, err
    assert f"{100 * best:.1f} %" in out
    with Image.open(f"{photo}.explained.png") as shown:
        assert 24 * shown.width == 40 * shown.height


def test_predict_needs_one_output_and_pictures(shell, photo, tmp_path):
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    two = keras.Model(inputs, [x, keras.layers.Dense(4)(x)])
    two.save(tmp_path / "two.keras")
    words = ("predict", photo, "--model")
    assert_error(shell(*words, tmp_path / "two.keras"), "one output (N, classes)")
    bare = keras_senet.SEResNet20(
        include_top=False, include_preprocessing=True, pooling="avg", weights=None
    )
    bare.save(tmp_path / "features.keras")
    assert_error(shell(*words, tmp_path / "features.keras"), "Predictions need a class")
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(inputs))
    keras.Model(inputs, x).save(tmp_path / "open.keras")
    assert_error(shell(*words, tmp_path / "open.keras"), "which takes any size")
    inputs = keras.Input((3, 32, 32))
    first = keras.layers.Dense(4)(keras.layers.Flatten()(inputs))
    keras.Model(inputs, first).save(tmp_path / "first.keras")
    assert_error(shell(*words, tmp_path / "first.keras"), "takes (None, 3, 32, 32)")


def test_weights_know_their_normalisation_and_labels(tmp_path):
    whole = keras_senet.SEResNet20(weights="fashion_mnist", include_preprocessing=True)
    names = [f"thing {i}" for i in range(10)]
    save_weights(whole, tmp_path / "a.weights.h5", network_card(whole, labels=names))
    opened = open_model(str(tmp_path / "a.weights.h5"))
    assert opened.labels == tuple(names)
    assert opened.card.preprocessing == whole.preprocessing
    assert opened.card.normalises
    bare = keras_senet.SEResNet20(weights="fashion_mnist")
    save_weights(bare, tmp_path / "b.weights.h5")
    opened = open_model(str(tmp_path / "b.weights.h5"))
    assert opened.card.preprocessing == whole.preprocessing
    assert opened.card.normalises is False


def test_predict_with_labels_of_a_file(shell, run, photo, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(f"thing{i}" for i in range(10)))
    words = ["predict", photo, "--model", run, "--labels", labels, "--top", "2"]
    code, out, _ = shell(*words)
    assert code == 0
    assert out.count("thing") == 2
    labels.write_text("one\ntwo\n")
    assert_error(shell(*words), "must name the 10 classes")
    labels.write_bytes("Käse".encode("latin-1"))
    assert_error(shell(*words), "labels.txt must be UTF-8")


def test_predict_of_what_is_no_image(shell, run, tmp_path):
    (tmp_path / "text.png").write_text("not an image")
    result = shell("predict", tmp_path / "text.png", "--model", run)
    assert_error(result, "text.png")
    assert_error(shell("predict", "none.png", "--model", run), "none.png")


def test_evaluate(shell, run, tmp_path):
    output = tmp_path / "evaluation"
    words = ["evaluate", run, "--limit", "100", "--output", output]
    code, out, _ = shell(*words)
    assert code == 0
    assert "100 of 32 x 32 pixels" in out
    result = json.loads((output / "evaluation.json").read_text())
    assert f"{100 * result['top1']:.2f} %" in out
    assert (output / "confusion.png").stat().st_size > 10_000
    right = f"{100 * result['top1']:.1f} % of 100 images are right."
    for name in ("report.html", "report.md"):
        text = (output / name).read_text("utf-8")
        places = [*map(text.index, (right, "Confusion matrix", "Each class"))]
        assert places == sorted(places)
    assert len((output / "classes.csv").read_text("utf-8").splitlines()) == 11
    assert_error(shell(*words), "which exists")


def test_export(shell, run, tmp_path):
    file = tmp_path / "model.tflite"
    words = ["export", run, "--output", file, "--quantization", "float16"]
    code, out, _ = shell(*words, "--images", "100")
    assert code == 0
    assert "pass" in out
    assert "model.tflite" in out
    assert_error(shell(*words), "which exists")
    bad = ["export", run, "--output", tmp_path / "folder", "--quantization", "int8"]
    assert_error(shell(*bad), "must end in .tflite")
    assert_error(shell("export", file, "--output", "x.tflite"), "an exported file")
    assert [path.name for path in tmp_path.iterdir()] == ["model.tflite"]


def test_info_of_a_run_and_of_a_file(shell, run):
    code, out, _ = shell("info", run)
    assert code == 0
    assert "of which SE" in out
    assert "architecture: reduction 4" in " ".join(out.split())
    assert "Ankle boot" in out
    code, out, _ = shell("info", run / "export" / "int8.tflite")
    assert code == 0
    assert "32 x 32 x 1" in out


def test_a_damaged_model(shell, tmp_path):
    (tmp_path / "model.keras").write_bytes(b"PK half a file")
    assert_error(shell("info", tmp_path), "cannot be read")
