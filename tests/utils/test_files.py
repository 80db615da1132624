"""A path holds the old or the new, whole."""

import os

import pytest

from keras_senet.utils.files import atomic_path


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
