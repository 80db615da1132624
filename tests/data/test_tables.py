"""Images with several labels each: a CSV file beside them."""

import unicodedata

import numpy as np
import pytest

from keras_senet.data import batches, open_source

NAMES = ("beach", "car", "dog")
ROWS = [(1, 0, 0), (0, 1, 1), (0, 0, 0), (1, 1, 1), (0, 1, 0), (0, 0, 1)]


@pytest.fixture
def table(folder, tmp_path):
    """Makes a folder of images and the CSV text beside them; returns the folder."""

    def make(text, root="photos", count=6):
        folder({f"{root}/deep": count}, root=".")
        images = tmp_path / root
        (images / "labels.csv").write_text(text, "utf-8")
        return images

    return make


def columns(rows=ROWS, file="file"):
    lines = [",".join(map(str, (f"deep/{i}.jpg", *row))) for i, row in enumerate(rows)]
    return "\n".join([f"{file},{','.join(NAMES)}", *lines, ""])


def listed(separator, delimiter=",", file="filename"):
    lines = []
    for i, row in enumerate(ROWS):
        names = separator.join(n for n, there in zip(NAMES, row, strict=True) if there)
        cell = f'"{names}"' if delimiter in names else names
        lines.append(f"deep/{i}.jpg{delimiter}{cell}")
    return "\n".join([f"{file}{delimiter}labels", *lines])


def labels_of(source):
    found = {}
    for split in source.splits:
        for (path, _), row in source.reader.records(source.part(split)):
            found[path.numpy().decode().rpartition("/")[2]] = tuple(row.numpy())
    return found


EXPECTED = {f"{i}.jpg": tuple(map(float, row)) for i, row in enumerate(ROWS)}


@pytest.mark.parametrize(
    "text",
    [
        columns(),
        columns(file="Image"),
        columns().replace(",", ";"),
        columns().replace(",", "\t").replace("deep/", "deep\\"),
        "\ufeff" + columns().replace("1", "1.0").replace("deep/1.0", "deep/1"),
        listed(";"),
        listed(";").replace("labels", "Labels"),
        listed(",", file="filename"),
        listed(" | ", ";"),
    ],
)
def test_both_forms_of_the_table(table, text):
    source = open_source(table(text))
    assert source.multi_label
    assert source.class_names == NAMES
    assert source.splits == {"train": 5, "test": 1}
    assert labels_of(source) == EXPECTED


def test_batches_have_rows_of_ones_and_zeros(table):
    source = open_source(table(columns()))
    for one_hot in (False, True):
        dataset = batches(
            source, "train", image_size=8, batch_size=5, one_hot=one_hot, training=True
        )
        ((images, labels),) = dataset
        assert images.shape == (5, 8, 8, 3)
        assert (labels.dtype, labels.shape) == (np.float32, (5, 3))
        assert set(map(tuple, labels.numpy())) <= set(EXPECTED.values())


def test_a_table_by_its_own_name_and_a_held_out_share(table):
    root = table(columns())
    (root / "labels.csv").rename(root / "tags.csv")
    source = open_source(root / "tags.csv", held_out=0.5)
    assert source.splits == {"train": 3, "test": 3}
    assert source.name == str(root / "tags.csv")
    again = open_source(str(root / "tags.csv"), held_out=0.5)
    for split in ("train", "test"):
        paths = [
            [
                path
                for (path, _), _ in s.reader.records(s.part(split)).as_numpy_iterator()
            ]
            for s in (source, again)
        ]
        assert paths[0] == paths[1]


def test_tables_of_splits(table):
    root = table(columns(), root="photos/train").parent
    table(columns(ROWS[:2]), root="photos/val", count=2)
    source = open_source(root)
    assert source.splits == {"train": 6, "test": 2}
    assert source.class_names == NAMES


def test_a_part_without_images_is_an_error(table):
    root = table(columns(), root="photos/train").parent
    table(columns(()), root="photos/test", count=0)
    with pytest.raises(ValueError, match=r"'test' of .* It has none"):
        open_source(root)
    with pytest.raises(ValueError, match=r"'train' of .* It has none"):
        open_source(table(columns(()), root="empty", count=0))


def test_a_part_without_its_table_is_an_error(table):
    root = table(columns(), root="photos/train").parent
    other = table(columns(ROWS[:2]), root="photos/test", count=2) / "labels.csv"
    other.rename(other.with_name("label.csv"))
    with pytest.raises(ValueError, match=r"Missing: .*test/labels\.csv\. Add it"):
        open_source(root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (columns(file="path"), r"must list images.*'file'.*the columns \['path'"),
        ("file\ndeep/0.jpg\n", "must list images.*Received: the columns"),
        ("file,labels,year\n", r"unknown columns beside 'labels': \['year'\]"),
        ("file,a,a\n", "must list images"),
        ("", "must list images"),
        (columns().replace("0,1,1", "0,yes,1"), r"Line 3 .* column 'car'.*'yes'"),
        (columns().replace("0,1,1", "0,0.5,1"), r"Line 3 .* 0 or 1.*'0.5'"),
        (columns().replace("0,1,1", "0,,1"), "Line 3 .* Received: ''"),
        (columns().replace("0,1,1", "0,1"), "Line 3 .* must have 4 cells. Received: 3"),
        (
            columns() + "./deep//1.jpg,0,0,0",
            r"Line 8 .* repeats 'deep/1.jpg' of line 3",
        ),
        (columns() + ",0,0,0", "Line 8 .* must name an image file"),
        (columns() + "deep/9.jpg,0,0,0", r"There is no image file '.*deep/9.jpg'"),
        ("file,labels\ndeep/0.jpg,\n", "names no label"),
        (b"file,labels\n\xff,a\n", "must be a CSV file in UTF-8"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(table, text, message):
    root = table("" if isinstance(text, bytes) else text)
    if isinstance(text, bytes):
        (root / "labels.csv").write_bytes(text)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        open_source(root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["file,beach,car\n", "file,beach,car,cat,dog\n", "file,labels\na.jpg,cat\n"]
)
def test_a_held_out_table_has_the_same_labels(table, text):
    root = table(columns(), root="photos/train").parent
    table(text, root="photos/test")
    with pytest.raises(ValueError, match=r"test/labels.csv' and '.*' must have"):
        open_source(root)


def test_images_that_cannot_be_read_are_skipped_when_asked(table):
    root = table(columns() + "deep/9.jpg,0,0,0\n")
    (root / "deep" / "2.jpg").write_bytes(b"")
    with pytest.warns(UserWarning, match="2 images below .* are skipped"):
        source = open_source(root, on_error="skip")
    assert source.skipped == 2
    assert "2.jpg" not in labels_of(source)


def test_a_name_is_one_whatever_form_its_umlauts_have(table):
    composed, apart = (
        "\N{LATIN SMALL LETTER A WITH DIAERESIS}",
        "a\N{COMBINING DIAERESIS}",
    )
    lines = [f"deep/{i}.jpg,{(composed, apart)[i % 2]};b" for i in range(6)]
    source = open_source(table("\n".join(["file,labels", *lines])))
    assert source.class_names == ("b", composed)
    header = f"file,{apart},b\n" + "".join(f"deep/{i}.jpg,1,1\n" for i in range(6))
    assert open_source(table(header)).class_names == (composed, "b")


@pytest.mark.parametrize(("there", "said"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_files_are_found_whatever_form_their_umlauts_have(table, there, said):
    root = table("")
    (root / "deep").rename(root / unicodedata.normalize(there, "Möwen"))
    for path in root.glob("M*/*.jpg"):
        path.rename(path.with_name(unicodedata.normalize(there, f"ä{path.name}")))
    lines = [unicodedata.normalize(said, f"Möwen/ä{i}.jpg,a;b") for i in range(6)]
    file = root / "labels.csv"
    file.write_text("\n".join(["file,labels", *lines]), "utf-8")
    source = open_source(root)
    assert source.splits == {"train": 5, "test": 1}
    assert len(list(source.dataset("train").as_numpy_iterator())) == 5
    again = unicodedata.normalize(there, lines[1])
    file.write_text("\n".join(["file,labels", *lines, again]), "utf-8")
    with pytest.raises(ValueError, match=r"Line 8 of .* repeats .* of line 3\."):
        open_source(root)


def test_labels_that_no_held_out_image_has_are_named(table):
    root = table("file,a,b\ndeep/0.jpg,1,1\ndeep/1.jpg,1,1\n", root="photos/train")
    table("file,a,b\ndeep/2.jpg,1,0\n", root="photos/test")
    with pytest.warns(UserWarning, match="No image of 'test'.* measured for them: b"):
        open_source(root.parent)
