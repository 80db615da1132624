"""A path holds the old or the new, whole."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile

import pytest

from keras_senet.utils.files import (
    HOLDER,
    atomic_path,
    locked_folder,
    plausible_size,
    temporary_folder,
)


def test_files_of_several_gib_may_claim_their_size(tmp_path):
    path = tmp_path / "large.h5"
    path.touch()
    os.truncate(path, 6 * 2**30)  # takes no room on the disk
    assert plausible_size(path) > 6 * 2**30
    os.truncate(path, 2**10)
    assert plausible_size(path) < 2**27


pytestmark = pytest.mark.faults("a kill or an error while a file is written")


def _fill(folder, text):
    folder.mkdir()
    (folder / "a").write_text(text)


@pytest.mark.parametrize("name", ["out", "replaced"])
def test_a_folder_takes_the_place_of_a_folder(tmp_path, name):
    path = tmp_path / name
    _fill(path, "old")
    with atomic_path(path, overwrite=True) as temporary:
        _fill(temporary, "new")
        assert (path / "a").read_text() == "old"
    assert (path / "a").read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_folder_stays_where_its_replacement_fails(tmp_path, monkeypatch, error):
    def fail(*paths):
        raise error

    path = tmp_path / "out"
    _fill(path, "old")
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(error), atomic_path(path, overwrite=True) as temporary:
        _fill(temporary, "new")
    assert (path / "a").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_does_not_replace_a_folder(tmp_path):
    path = tmp_path / "out"
    _fill(path, "old")
    message = r"The report must replace a file.*out', which is a folder\. Choose"
    with (
        pytest.raises(ValueError, match=message),
        atomic_path(path, overwrite=True, what="report") as temporary,
    ):
        temporary.write_text("new")
    assert (path / "a").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_does_not_replace_a_file(tmp_path):
    path = tmp_path / "out"
    path.write_text("old")
    message = r"The folder must replace a folder.*out', which is a file\. Choose"
    with (
        pytest.raises(ValueError, match=message),
        atomic_path(path, overwrite=True, what="folder") as temporary,
    ):
        _fill(temporary, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


# Does something with the path that it is given, says so, and waits to be killed.
HOLDERS = {
    "writing": "stack.enter_context(atomic_path(path)).write_text('half')",
    "temporary": "stack.enter_context(temporary_folder()).joinpath('a').mkdir()",
    "locking": "os.mkdir(path); stack.enter_context(locked_folder(path, 'folder'))",
}


@contextlib.contextmanager
def other_process(kind, path, **env):
    program = (
        "import contextlib, os, sys, time\n"
        "from keras_senet.utils.files import *\n"
        "path, stack = sys.argv[1], contextlib.ExitStack()\n"
        f"{HOLDERS[kind]}\nprint('ready', flush=True)\ntime.sleep(600)\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    env = {**os.environ, **env}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=env)
    try:
        assert process.stdout.readline() == b"ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_what_a_killed_process_left_is_removed_and_nobody_elses(tmp_path):
    path = tmp_path / "o[u]t.txt"
    kept = [tmp_path / ".out.txt.abcdefgh", tmp_path / ".o[u]t.txt.mine"]
    _fill(kept[0], "of another name")
    _fill(kept[1], "of another length")
    _fill(tmp_path / ".o[u]t.txt.abcdefgh", "with other things in it")
    with other_process("writing", path) as process:
        (left,) = set(tmp_path.iterdir()) - {*kept, tmp_path / ".o[u]t.txt.abcdefgh"}
        with atomic_path(path) as temporary:
            temporary.write_text("new")
        assert (left / path.name).read_text() == "half"
        process.send_signal(signal.SIGKILL)
        process.wait()
        with atomic_path(path, overwrite=True) as temporary:
            temporary.write_text("newer")
    kept.append(tmp_path / ".o[u]t.txt.abcdefgh")
    assert set(tmp_path.iterdir()) == {path, *kept}


def test_temporary_folders_of_killed_processes_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    kept = tmp_path / "keras-senet-mine"
    kept.mkdir()
    with other_process("temporary", tmp_path, TMPDIR=str(tmp_path)) as process:
        (others,) = set(tmp_path.iterdir()) - {kept}
        with temporary_folder() as folder:
            assert set(tmp_path.iterdir()) == {kept, others, folder}
        process.kill()
        process.wait()
        with temporary_folder() as folder:
            assert set(tmp_path.iterdir()) == {kept, folder}
    assert set(tmp_path.iterdir()) == {kept}


@pytest.mark.parametrize("renamed", [False, True])
def test_a_folder_whose_replacement_was_killed_between_two_steps(tmp_path, renamed):
    path, left = tmp_path / "out", tmp_path / ".out.abcdefgh"
    left.mkdir()
    _fill(left / "out.replaced", "old")
    _fill(path if renamed else left / "out", "new")
    with pytest.raises(ValueError, match="exists"), atomic_path(path):
        pass
    assert (path / "a").read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_of_one_process(tmp_path):
    path = tmp_path / "run"
    with other_process("locking", path) as process:
        with (
            pytest.raises(
                BlockingIOError, match=rf"run', which 'process {process.pid}"
            ),
            locked_folder(path, "run folder"),
        ):
            pass
        process.kill()
        process.wait()
        assert (path / HOLDER).exists()
        with locked_folder(path, "run folder"), pytest.raises(BlockingIOError):  # noqa: SIM117
            with locked_folder(path, "run folder"):
                pass
        assert list(path.iterdir()) == []


FULL = """
import os, resource, signal, sys
from keras_senet.utils.files import DiskFull, atomic_path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

def say(path):
    raise RuntimeError("errno = 27, File too large")

def write(path):
    path.write_bytes(bytes(50_000))

def hide(path):
    try:
        write(path)
    except OSError:
        raise ValueError("an open writing handle")

for act in (say, write, hide):
    try:
        with atomic_path(sys.argv[1]) as temporary:
            act(temporary)
    except DiskFull as error:
        print(error, os.listdir())
"""


@pytest.mark.faults("a full disk")
def test_a_full_disk_is_one_line_with_the_path(tmp_path):
    path = tmp_path / "out"
    command = [sys.executable, "-c", FULL, path]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=env
    )
    line = f"{str(path)!r} could not be written: File too large. []"
    assert done.stdout.splitlines() == [line] * 3, done.stderr
