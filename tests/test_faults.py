"""Full disks, kills and two at a time, through the command line."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import full_disk
import pytest

import keras_senet
from keras_senet.cli import main
from keras_senet.cli.command import VERBS
from keras_senet.utils.files import locked_folder
from keras_senet.weights import save_model


@pytest.fixture
def shell(capsys):
    """Runs a command; returns its exit code and the lines of its error output."""

    def call(*words):
        code = main([str(word) for word in words])
        return code, capsys.readouterr().err.splitlines()

    return call


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    model = keras_senet.SEResNet(**full_disk.NETWORK, input_shape=(32, 32, 3))
    return save_model(model, tmp_path_factory.mktemp("network") / "mine.keras")


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(full_disk.RECIPE))
    return path


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """What `full_disk.py` found, and where."""
    folder = tmp_path_factory.mktemp("out of room")
    command = [sys.executable, full_disk.__file__, folder]
    alone = ["unshare", "--map-root-user", "--mount"]  # mounts end with the process
    if shutil.which("unshare") and subprocess.run([*alone, "true"]).returncode == 0:
        command = [*alone, *command]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1]), folder


WRITERS = full_disk.WRITERS | full_disk.LARGE
REASONS = {"limit": "File too large", "disk": "No space left on device"}


def check_failed(found, folder, reason):
    (line,) = found["lines"]
    assert found["code"] == 1
    assert f"could not be written: {reason}" in line
    assert str(folder) in line
    assert not [file for file in found["files"] if Path(file).name.startswith(".")]


@pytest.mark.faults("a full disk")
@pytest.mark.slow
@pytest.mark.parametrize("kind", REASONS)
@pytest.mark.parametrize("name", [*WRITERS, "features", "picture"])
def test_a_full_disk(kind, name, full):
    if kind == "limit" and name in full_disk.LARGE:
        pytest.skip("no file of these is large alone")
    found, folder = full[0].get(f"{kind}/{name}"), full[1] / kind / name
    if found is None:
        pytest.skip("needs a process that may mount a file system")
    check_failed(found, folder, REASONS[kind])
    own = ["a.png"] if (kind, name) == ("limit", "picture") else []
    if "quickstart" not in WRITERS.get(name, ()):  # whose folder stays
        assert found["files"] == own


@pytest.mark.faults("a full disk")
@pytest.mark.slow
@pytest.mark.parametrize("name", full_disk.RUNS)
def test_a_run_goes_on_when_there_is_room(name, full, record_property):
    *failed, last = full[0][f"limit/{name}"]
    record_property("tries", len(failed) + 1)
    for found in failed:
        check_failed(found, full[1] / "limit" / name, REASONS["limit"])
    assert (last["code"], last["lines"]) == (0, [])
    written = {"train": "model.keras", "finetune": "export/model.tflite"}
    assert f"run/{written[name]}" in last["files"]


@pytest.mark.faults("a full disk")
@pytest.mark.slow
def test_a_model_that_cannot_be_unpacked(full):
    found = full[0]["limit/unpacking"]
    (line,) = found["lines"]
    assert found["code"] == 1
    assert f"{found['place']!r} could not be written: File too large" in line


def test_every_verb_that_writes_is_tried():
    tried = {row[2] for row in full_disk.WRITERS.values()}
    tried |= {row[1] for row in full_disk.RUNS.values()} | {"predict", "info"}
    assert tried == {*VERBS} - {"list"}


COMMAND = "import sys, keras_senet_command; sys.exit(keras_senet_command.main())"


@pytest.mark.faults("a full disk")
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("target", "code", "error"),
    [
        ("/dev/full", 1, f"The standard output cannot be written: {REASONS['disk']}"),
        ("&-", 0, None),  # closed
    ],
)
def test_an_output_that_cannot_be_written(target, code, error):
    shell = f'exec "$0" -c "$1" --help >{target}'
    done = subprocess.run(
        ["sh", "-c", shell, sys.executable, COMMAND],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == code
    assert done.stderr == (f"keras-senet: error: {error}\n" if error else "")


@pytest.mark.faults("two processes at once")
def test_a_run_is_of_one_process(shell, recipe, tmp_path):
    run = tmp_path / "run"
    words = ["train", "--recipe", recipe, "--run-folder", run]
    run.mkdir()
    with locked_folder(run, "run folder"):
        code, lines = shell(*words)
    assert code == 1
    assert f"'process {os.getpid()} on " in lines[0]
    assert list(run.iterdir()) == []


@pytest.mark.faults("a kill or an error while a file is written")
@pytest.mark.slow
def test_a_conversion_that_was_killed_after_its_card(network, shell, tmp_path):
    source, target = tmp_path / "source.keras", tmp_path / "out.weights.h5"
    shutil.copy(network, source)
    card = tmp_path / "out.md"
    assert shell("convert", source, target)[0] == 0
    target.unlink()
    assert shell("convert", source, target)[0] == 0
    target.unlink()
    card.write_text("mine")
    code, lines = shell("convert", source, target)
    assert (code, len(lines)) == (1, 1)
    assert card.read_text() == "mine"


START = """
import sys
import keras_senet_command
print("ready", flush=True)
sys.exit(keras_senet_command.main())
"""


@pytest.mark.parametrize(
    "seconds",
    [0.05, *(pytest.param(s, marks=pytest.mark.slow) for s in (0.3, 1, 3, 6))],
)
@pytest.mark.faults("ctrl-C")
def test_ctrl_c_at_any_time(seconds, network):
    """While our package is imported, or TensorFlow, or the command runs."""
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    process = subprocess.Popen(
        [sys.executable, "-c", START, "info", network],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout.readline() == b"ready\n"
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 130, error.decode()
    assert error.decode() == "keras-senet: error: interrupted\n"
