"""What the verbs write on a terminal: their own lines, as wide as it is."""

import contextlib
import importlib
import io
import json
import os
import re
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from keras_senet.cli.command import VERBS, main
from keras_senet.utils.networks import known_networks
from keras_senet.weights.catalogue import PRESETS, list_weights

fcntl = pytest.importorskip("fcntl")
pty = pytest.importorskip("pty")
termios = pytest.importorskip("termios")

# Runs several commands in one process, as each is run in one of its own.
CHILD = """
import json, sys
from keras_senet.cli import main
for words in json.loads(sys.argv[1]):
    for stream in (sys.stdout, sys.stderr):
        print("@@", *words, file=stream, flush=True)
    sys.argv = ["keras-senet", *words]
    print("exit code", main(), flush=True)
"""

# Command -> how the lines that it may write begin; those of tables are indented.
COMPARED = r"Compared on \d+ real images"
EPOCH = r"epoch +\d+/\d+ +loss [\d.]+ +accuracy +[\d.]+ % +held out +[\d.]+ % +\d+ s$"
WRITTEN = r"Written(:| to) "
COMMANDS = {
    "train --recipe mine.json --run-folder run --smoke": rf"{EPOCH}|[\d.]+ % of the "
    "held-out images right after 2 epochs; ",
    "info run --layers": r"run$|What each layer costs$",
    "evaluate run --limit 64": "run on bundled, test$|Each class$",
    "predict photo.png --model run": "photo.png$",
    "export run --output model.tflite --images 32": rf"{WRITTEN}|{COMPARED}",
    "export run --output saved --images 32": rf"{WRITTEN}|{COMPARED}",
    "variants run --output v --variants float32 int8 --limit 32 --latency-runs 1": (
        rf"32 images; the Keras model: |{WRITTEN}"
    ),
    "explain run --output gates --limit 64": "run on bundled, test$|Several at once$|"
    rf"The whole network: |Of 4 SE layers, |{WRITTEN}",
    "convert se_resnet20.cifar10 new.keras": "se_resnet20, layout ",
    "list se_resnet*": "Networks; ",
    "list --weights": "Checkpoints, ",
    "benchmark run --forms memory tflite --batches 1 --rounds 2": (
        "Other work keeps |run$|Measured on: "
    ),
    "benchmark data --recipe mine.json --seconds 0.1": "The input of ",
    "finetune bundled --weights run --run-folder tuned --limit 64 --head-epochs 1 "
    "--epochs 1": rf"{EPOCH}|(Linear probe|All layers|Warning): |[\d.]+ % of the "
    rf"held-out images right, on 1000 images. Report: |These files are no better|"
    rf"{COMPARED}",
    "quickstart --smoke --run-folder quick": rf"{EPOCH}|{COMPARED}|se_resnet20 on the "
    r"bundled|Trained at |[\d.]+ % of the held-out images|Exported 5 files|\d+ s in ",
    "info nothing.keras": "",
}
CHEAP = {
    "predict photo.png --model se_resnet20.fashion_mnist": "photo.png$",
    "list se_resnet*": "Networks; ",
    "list --weights": "Checkpoints, ",
    "info nothing.keras": "",
}
RECIPE = {
    "model": "se_resnet",
    "model_arguments": {
        "block": "basic",
        "blocks": [1] * 4,
        "filters": [8] * 4,
        "stem_filters": [8],
        "reduction": 2,
    },
    "image_size": 32,
    "epochs": 1,
}


def _in_terminal(commands, columns, folder):
    """What commands write on standard output and error, each a terminal."""
    environment = dict(os.environ, TERM="xterm")
    for name in ("TF_CPP_MIN_LOG_LEVEL", "COLUMNS", "LINES"):
        environment.pop(name, None)
    ends = [pty.openpty() for _ in range(2)]
    for _, ours in ends:
        fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    words = json.dumps([command.split() for command in commands])
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, words],
        stdout=ends[0][1],
        stderr=ends[1][1],
        cwd=folder,
        env=environment,
    )
    for _, ours in ends:
        os.close(ours)
    with ThreadPoolExecutor() as pool:
        written = list(pool.map(_read, [end for end, _ in ends]))
    child.wait()
    return [_shown(text.decode()) for text in written]


def _read(end):
    """Reads a terminal until nobody writes to it."""
    text = b""
    with contextlib.suppress(OSError):  # what Linux says at the end
        while part := os.read(end, 65536):
            text += part
    os.close(end)
    return text


def _shown(text):
    """The lines that stay on a terminal, command by command."""
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
    lines = [line.rpartition("\r")[2].rstrip() for line in text.split("\r\n")]
    commands = {}
    for line in lines:
        if line.startswith("@@ "):
            commands[line.removeprefix("@@ ")] = []
        elif line and "━" not in line:  # a bar that was taken away
            commands[list(commands)[-1]].append(line)
    return commands


def _unwrapped(lines, columns):
    """The lines as they were written, before the terminal's edge broke them."""
    whole, last = [], " "
    for line in lines:
        first, breaks = line.split()[0], " " not in (line[0], last[0])
        if breaks and len(f"{last} {first}") > columns:
            whole[-1] += f" {line}"
        else:
            whole.append(line)
        last = line
    return whole


@pytest.fixture
def folder(tmp_path):
    from PIL import Image

    (tmp_path / "mine.json").write_text(json.dumps(RECIPE))
    Image.new("RGB", (60, 40), (200, 30, 90)).save(tmp_path / "photo.png")
    return tmp_path


def test_every_verb_is_tried():
    for verb in (*VERBS, "benchmark data"):
        assert any(command.startswith(f"{verb} ") for command in COMMANDS), verb


@pytest.mark.parametrize(
    ("commands", "columns"),
    [
        pytest.param(CHEAP, 80, id="cheap-80"),
        pytest.param(COMMANDS, 80, marks=pytest.mark.slow, id="all-80"),
        pytest.param(COMMANDS, 120, marks=pytest.mark.slow, id="all-120"),
    ],
)
def test_only_our_lines_reach_the_terminal(commands, columns, folder):
    output, errors = _in_terminal(commands, columns, folder)
    assert list(output) == list(errors) == list(commands)
    for command, ours in commands.items():
        failing = "nothing" in command
        *lines, code = output[command]
        assert code == ("exit code 1" if failing else "exit code 0"), errors
        error = "keras-senet: error: There is no model 'nothing.keras': the path does"
        expected = [error] if failing else []
        assert [e[: len(error)] for e in errors[command]] == expected
        for line in _unwrapped(lines, columns):
            known = line.startswith(" ") or re.match(ours or "nothing", line)
            assert known, (command, line)
        for line in lines:
            assert len(line) <= columns, (command, line)
            assert "…" not in line, (command, line)  # a cell that is cut


@pytest.mark.parametrize("terminal", [True, False])
def test_progress(terminal):
    from rich.console import Console

    from keras_senet.cli.progress import Progress

    console = Console(
        file=io.StringIO(), force_terminal=terminal, width=100, highlight=False
    )
    progress = Progress(console)
    progress.set_params({"epochs": 2, "steps": 4})
    logs = {"loss": 1.0, "accuracy": 0.5, "val_accuracy": 0.25}
    progress.on_train_begin()
    for epoch in range(2):
        progress.on_epoch_begin(epoch)
        for batch in range(4):
            progress.on_train_batch_end(batch, logs)
        if terminal:
            progress.bar.refresh()
        progress.on_epoch_end(epoch, logs)
    progress.on_train_end()
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", console.file.getvalue())
    assert re.findall(r"epoch +(\d)/2 +loss 1.000", text)[-1] == "2"
    if terminal:
        assert re.search(
            r"epoch 1/2 .*━.* 4/4 loss 1.000  accuracy 50.0 % 0:00:0", text
        )
    else:
        assert len(text.splitlines()) == 2


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_names_that_an_encoding_lacks(encoding):
    code = """
import sys
from keras_senet.cli import command
from keras_senet.cli.console import make_console, print_table
def table():
    print_table(make_console(), "Käse", ("class", ">score"), [("日本 Käse", "1 %")])
    return "日本"
command._usage = table
sys.argv = ["keras-senet", "--help"]
raise SystemExit(command.main())
"""
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"")
    expected = "?? K?se" if encoding == "ascii" else "?? Käse"
    assert expected in done.stdout.decode(encoding)


@pytest.mark.parametrize("words", [[], ["--weights"]])
def test_no_figure_of_a_list_is_cut(words, monkeypatch, capsys):
    from rich.console import Console

    verb = importlib.import_module("keras_senet.cli.list")
    monkeypatch.setattr(verb, "make_console", lambda: Console(width=80))
    assert main(["list", *words]) == 0
    shown = capsys.readouterr().out.split()
    presets = [PRESETS[name] for name in list_weights()] if words else []
    expected = {f"{p.parameters / 1e6:.1f}" for p in presets}
    expected |= {f"{p.accuracy.top1:.2f}" for p in presets if p.accuracy}
    if not words:
        networks = known_networks()
        expected = {f"{n['parameters']:,}" for n in networks.values()} | {*networks}
    assert expected <= set(shown)
    assert "multiply-" in shown
