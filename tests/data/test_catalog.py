import pytest
from PIL import Image

from keras_senet.data import open_source


def test_a_missing_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (tmp_path / "no", str(tmp_path / "no"), "./no", "no/", "~/no-such"):
        with pytest.raises(FileNotFoundError, match=r"There is no folder '.*no"):
            open_source(name)


def test_a_file_is_no_folder(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "image.png")
    with pytest.raises(ValueError, match=r"must be a folder. Received: '.*png'"):
        open_source(tmp_path / "image.png")


def test_a_folder_that_exists_comes_first(folder, monkeypatch):
    root = folder({"a": 2, "b": 2}, root="cifar10")
    monkeypatch.chdir(root.parent)
    source = open_source("cifar10")
    assert source.name == "cifar10"
    assert source.class_names == ("a", "b")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bundeld", r"none of them. Did you mean 'bundled'\?"),
        ("imagenet2021", r"'imagenet2021'.*Did you mean 'imagenet2012"),
        ("my photos", "Data must be 'bundled', a folder of images or a tensorflow_"),
        ("photos/mine", "To name a folder, write it as"),
        ("mnist/foo", "tensorflow_datasets cannot open 'mnist/foo': .*foo"),
        ("ag_news_subset", "must have images with one class label each.*'description'"),
    ],
)
def test_an_unknown_name_is_answered_in_one_line(tmp_path, name, message):
    with pytest.raises(ValueError, match=message) as caught:
        open_source(name, data_dir=tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["bundled", "."])
def test_a_place_for_data_that_have_their_own_is_refused(name):
    with pytest.raises(ValueError, match="`data_dir` is only for"):
        open_source(name, data_dir="x")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"on_error": "ignore"}, "`on_error` must be 'raise' or 'skip'.*'ignore'"),
        ({"held_out": 0}, "`held_out` must lie between 0 and 1.*held_out=0"),
        ({"held_out": 20}, "held_out=20"),
    ],
)
def test_bad_arguments_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        open_source("bundled", **changes)
