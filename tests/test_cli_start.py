"""The first second of the command line: light, and without a line of other people's."""

import os
import re
import signal
import subprocess
import sys

import pytest

from keras_senet.cli.command import VERBS, main
from keras_senet.cli.quiet import _NOTE

LIGHT = ["", "--version", "--help", "nonsense", "list", "list --weights"]
LIGHT += [f"{verb} --help" for verb in (*VERBS, "benchmark data")]

# A module that is loaded when it is first used has no submodules until then.
LOADED = "[m for m in sys.modules if m.startswith(('keras.', 'tensorflow.', 'numpy.'))]"


def _run(code, **environment):
    known = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**known, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("words", LIGHT)
def test_loads_neither_keras_nor_tensorflow(words):
    done = _run(
        "import sys\nfrom keras_senet.cli import main\n"
        f"sys.argv = ['keras-senet', *{words.split()!r}]\nmain()\n"
        f"print({LOADED})"
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.parametrize("before", [None, "0"])
def test_onednn_is_on_where_nobody_says_otherwise(before, monkeypatch):
    name = "TF_ENABLE_ONEDNN_OPTS"
    monkeypatch.setenv(name, before or "")
    if before is None:
        monkeypatch.delenv(name)
    assert main(["--version"]) == 0
    assert os.environ[name] == (before or "1")


def test_words_are_completed(capsys):
    """Without Keras: it is the verb's help that is read."""
    assert main(["--complete"]) == 0
    assert {"train", "export", "--help"} <= set(capsys.readouterr().out.split())
    assert main(["--complete", "export", "model.keras"]) == 0
    options = capsys.readouterr().out.split()
    assert {"--output", "--quantization", "--fold", "--no-fold"} <= set(options)
    assert all(re.fullmatch(r"--[a-z][a-z0-9-]*", option) for option in options)
    assert main(["--completion"]) == 0
    shell = f"""
keras-senet() {{ [ "$*" = "--complete export a b" ] && echo --output --other --quiet; }}
{capsys.readouterr().out}
COMP_WORDS=(keras-senet export a b --o); COMP_CWORD=4; _keras_senet
echo "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    assert (done.stdout.split(), done.stderr) == (["--output", "--other"], "")


def test_completion_runs_no_recipe(tmp_path, capsys):
    recipe, ran = tmp_path / "recipe.py", tmp_path / "ran"
    recipe.write_text(f"open({str(ran)!r}, 'w')")
    for words in (["--recipe", str(recipe)], [f"--recipe={recipe}"]):
        assert main(["--complete", "train", *words]) == 0
        assert "--run-folder" in capsys.readouterr().out
    assert not ran.exists()


def test_recipes_need_neither_keras_nor_tensorflow():
    done = _run(
        "import sys\nfrom keras_senet.training import RECIPES, FinetuneRecipe\n"
        "FinetuneRecipe(model=RECIPES['quickstart'].model)\n"
        "print([m for m in ('keras', 'tensorflow', 'numpy') if m in sys.modules])"
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


NOISE = r"""
import os, sys
from keras_senet.cli.quiet import be_quiet
be_quiet()
os.write(2, b"I0000 00:00:1795919031.124034   23312 cudart_stub.cc:31] a note\n")
os.write(2, b"2026-01-01 00:00:00.123456: W tensorflow/core/x.cc:3] a warning\n")
os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n")
os.write(2, b"E0000 00:00:1795919031.124034   23312 x.cc:31] an error\n")
print("ours", file=sys.stderr)
import tensorflow as tf
tf.constant(1.0)
import warnings
warnings.warn("our warning")
warnings.warn("old", DeprecationWarning)
import time
time.sleep(0.2)
"""


def test_notes_are_dropped_and_errors_are_not():
    error = _run(NOISE).stderr
    assert "an error" in error
    lines = [line for line in error.splitlines() if "an error" not in line]
    assert lines == ["ours", "keras-senet: warning: our warning"]


def test_the_last_words_of_a_crash_are_not_lost():
    code = (
        NOISE.split("os.write")[0] + "os.write(2, b'F0000 the reason\\n'); os.abort()"
    )
    done = _run(code)
    assert (done.returncode, done.stderr) == (-signal.SIGABRT, "F0000 the reason\n")


def test_ctrl_c_leaves_the_last_lines_and_no_process():
    code = f"import os\nos.setsid()\n{NOISE.split('os.write')[0]}" + (
        "import signal\nsignal.signal(signal.SIGINT, lambda *_: None)\n"
        "os.killpg(0, signal.SIGINT)\nos.write(2, b'after it\\n')\n"
        "import atexit\natexit._run_exitfuncs()\n"
        "try:\n    os.waitpid(-1, 0)\nexcept ChildProcessError:\n    print('none')"
    )
    done = _run(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "none\n", "after it\n")


def test_an_explicit_level_keeps_them():
    code = NOISE.split("import tensorflow")[0]
    assert "a note" in _run(code, TF_CPP_MIN_LOG_LEVEL="0").stderr


NOTE = (
    "os.write(2, b'W0000 00:00:1795919031.124 1 x.cc:3] a note\\n\\t [[at]]\\nours\\n')"
)


@pytest.mark.parametrize(
    ("words", "level", "lines"),
    [
        ([], None, ["ours"]),
        (["--debug"], None, ["a note", "[[at]]", "ours"]),
        ([], "0", ["a note", "[[at]]", "ours"]),
    ],
)
def test_who_asks_for_the_notes_gets_them(words, level, lines):
    known = {} if level is None else {"TF_CPP_MIN_LOG_LEVEL": level}
    done = _run(
        "import logging, os, sys\nfrom keras_senet.cli import main\n"
        f"sys.argv = ['keras-senet', '--version', *{words!r}]\nmain()\n{NOTE}\n"
        "logging.getLogger('absl').warning('[[at]]')\n",
        **known,
    )
    said = done.stderr.splitlines()
    assert [line.split("] ")[-1].strip() for line in said if line][:3] == lines


@pytest.mark.parametrize("line", ["error: W0000", "Warning: x", "WARNING", "I am"])
def test_other_lines_are_no_notes(line):
    assert not re.match(_NOTE, line.encode())


@pytest.mark.parametrize(
    "line",
    [
        'TIFFFetchNormalTag: Incompatible type for "RowsPerStrip".',
        "_TIFFGetStrileOffsetOrByteCountValue: Inconsistent directory count.",
        "LZWDecode: Not enough data at scanline 0 (short 9 bytes).",
        "JPEGLib: Not a JPEG file: starts with 0x7f 0xd8.",
        "tempfile.tif: Using code not yet in table.",
    ],
)
def test_what_libtiff_says_of_a_broken_image_is_no_line_of_ours(line):
    assert re.match(_NOTE, line.encode())


@pytest.mark.parametrize(
    "line",
    [
        "E0000 00:00:1.2 3 x.cc:52] failed call to cuInit: UNKNOWN ERROR (303)",
        # TensorFlow 2.18
        "2026-01-01 00:00:00.1: E x.cc:152] failed call to cuInit: ERROR (303)",
        "2026-01-01 00:00:00.1: E x.cc:477] Unable to register cuFFT factory: ...",
        "E0000 00:00:1.2 3 x.cc:8310] Unable to register cuDNN factory: Attempting",
    ],
)
def test_no_gpu_is_no_error(line):
    assert re.match(_NOTE, line.encode())


def test_errors_of_either_form_are_errors():
    for line in ("E0000 00:00:1.2 3 x.cc:1] no", "2026-01-01 00:00:00.1: E x.cc:1] no"):
        assert not re.match(_NOTE, line.encode())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such pipes")
def test_who_reads_no_more_ends_it_with_141():
    command = f"{sys.executable} -c 'import sys, keras_senet_command as k;"
    command += " sys.exit(k.main())' list --weights"
    shell = f"{command} | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGINT, 130, "keras-senet: error: interrupted\n"),
        (signal.SIGTERM, 143, ""),
    ],
)
def test_what_a_callback_of_the_collector_drops_is_said_again(number, code, said):
    program = f"""
import gc, os, signal, sys, time
from keras_senet.cli import command, quiet

def slow(phase, info):
    if phase == "start" and not sent:
        sent.append(True)
        os.kill(os.getpid(), {int(number)})
        time.sleep(0.1)

def work(arguments):
    gc.callbacks.append(slow)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        gc.collect()
        time.sleep(0.01)
    return 0

sent, command._dispatch = [], work
sys.unraisablehook = lambda _: None
sys.exit(command.main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=50
    )
    assert (done.returncode, done.stderr) == (code, said)


def test_a_signal_in_the_first_moment_of_the_relay_is_not_its_own():
    done = _run(
        "import os, signal\n"
        "from keras_senet.cli import quiet\n"
        "def relay(*_):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    os._exit(0)\n"
        "quiet._relay = relay\n"
        "quiet.be_quiet()"
    )
    assert (done.returncode, done.stderr) == (0, "")
