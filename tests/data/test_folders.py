import io
import os
import shutil
import threading
import time
import unicodedata
import warnings

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from keras_senet.data import batches, open_source, read_image
from keras_senet.data import images as images_room
from keras_senet.data.decoding import Window, decode_jpeg

FOUND = pytest.mark.faults("what folders of real life hold")


def records(source, split):
    """Returns [(path, label)] in the order of the source."""
    return [
        (path.decode(), int(label))
        for (path, _), label in source.reader.records(
            source.part(split)
        ).as_numpy_iterator()
    ]


def names(source, split):
    return sorted(path.split("/")[-2:] for path, _ in records(source, split))


def test_class_folders_hold_out_a_fifth_of_each_class(folder):
    source = open_source(folder({"cat": 10, "dog": 20, "emu": 5}))
    assert source.class_names == ("cat", "dog", "emu")
    assert source.splits == {"train": 28, "test": 7}
    assert source.image_size == (24, 36)
    assert source.channels == 3
    labels = [label for _, label in records(source, "test")]
    assert np.bincount(labels).tolist() == [2, 4, 1]
    train, test = (set(map(tuple, names(source, s))) for s in ("train", "test"))
    assert len(train | test) == 35
    assert not train & test


def test_held_out_images_depend_on_their_names_only(folder, tmp_path):
    root = folder({"cat": 10, "dog": 20})
    shutil.copytree(root, tmp_path / "elsewhere")
    here, there = open_source(root), open_source(str(tmp_path / "elsewhere"))
    assert names(here, "test") == names(there, "test")
    first_by_name = [["cat", "0.jpg"], ["cat", "1.jpg"]]
    assert [name for name in names(here, "test") if name[0] == "cat"] != first_by_name
    assert open_source(root, held_out=0.5).splits == {"train": 15, "test": 15}


def test_records_go_through_the_classes_in_turn(folder):
    source = open_source(folder({"a": 3, "b": 3, "c": 8}), held_out=0.1)
    assert [label for _, label in records(source, "train")] == [
        0, 1, 2, 0, 1, 2, 2, 2, 2, 2, 2,
    ]  # fmt: skip


@pytest.mark.parametrize("test", ["test", "val", "validation", "valid"])
def test_train_and_test_folders(folder, test):
    root = folder({"train/a": 3, "train/b": 2, f"{test}/a": 1, f"{test}/b": 4})
    source = open_source(str(root))
    assert source.class_names == ("a", "b")
    assert source.splits == {"train": 5, "test": 5}
    assert all(f"/{test}/" in path for path, _ in records(source, "test"))


def test_validation_beside_test_and_classes_that_are_missing_there(folder):
    root = folder({"train/a": 2, "train/b": 2, "test/b": 1, "val/a": 1, "val/b": 2})
    source = open_source(root)
    assert source.splits == {"train": 4, "test": 1, "validation": 3}
    assert [label for _, label in records(source, "test")] == [1]


def test_train_folder_alone_is_split(folder):
    source = open_source(folder({"train/a": 5, "train/b": 5}))
    assert source.class_names == ("a", "b")
    assert source.splits == {"train": 8, "test": 2}


def test_folders_beside_train_are_said(folder):
    root = folder({"train/a": 5, "train/b": 5, "eval/a": 1})
    with pytest.warns(UserWarning, match="left out, because .* beside train/: eval"):
        assert open_source(root).splits == {"train": 8, "test": 2}


def test_split_folders_in_any_case(folder):
    root = folder({"Training/a": 3, "Training/b": 2, "Test/a": 1, "Test/b": 1})
    source = open_source(root)
    assert source.class_names == ("a", "b")
    assert source.splits == {"train": 5, "test": 2}


def test_pictures_that_explain_a_photograph_are_none_of_the_data(folder):
    root = folder({"a": 3, "b": 3})
    shutil.copy(root / "a" / "0.jpg", root / "a" / "0.jpg.explained.png")
    source = open_source(root)
    assert source.splits == {"train": 4, "test": 2}
    assert source.folders == (root,)


def test_a_class_called_train_is_a_class(folder):
    source = open_source(folder({"bus": 5, "train": 5}))
    assert source.class_names == ("bus", "train")


def test_dataset_gives_what_read_image_gives(folder):
    source = open_source(folder({"a": 4, "b": 3}))
    for (path, label), (image, same_label) in zip(
        records(source, "train"),
        source.dataset("train").as_numpy_iterator(),
        strict=True,
    ):
        assert np.array_equal(image, read_image(path))
        assert same_label == label == "ab".index(path.split("/")[-2])


def test_folders_of_real_life(folder, tmp_path, picture):
    """Every format and mode, nested, with odd names; hidden and other files between."""
    root = folder({"Größe XL/tief/nested": 2, "b c": 2})
    image = Image.fromarray(picture())
    deep = root / "Größe XL" / "tief"
    image.convert("CMYK").save(deep / "print.jpg")
    image.save(deep / "progressive.jpeg", progressive=True)
    image.convert("L").save(deep / "grey.JPG")
    image.quantize(8).save(deep / "palette.png", transparency=bytes(range(8)))
    image.convert("RGBA").save(deep / "alpha.webp")
    image.save(root / "b c" / "mit Leerzeichen.bmp")
    image.save(root / "b c" / "moving.gif", save_all=True, append_images=[image])
    Image.fromarray(picture()[..., 0].astype(np.uint16) * 256).save(
        root / "b c" / "sixteen.png"
    )
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(root / "b c" / "turned.jpg", exif=exif)
    image.save(root / "b c" / "scan.TIF")
    image.save(root / "b c" / "turned.tiff", exif=exif)
    image.save(root / "b c" / "from a phone.jfif", "JPEG")
    image.save(root / "b c" / "old.jpe", "JPEG")
    (root / "b c" / "Thumbs.db").write_text("no image")
    (root / "b c" / "._hidden.jpg").write_text("no image")
    (root / ".cache").mkdir()
    (root / "__MACOSX").mkdir()

    source = open_source(root)
    assert source.class_names == ("Größe XL", "b c")
    assert sum(source.splits.values()) == 17
    assert source.left_out == {}
    assert source.channels == 3
    assert source.image_size is None
    for split in source.splits:
        decoded = source.dataset(split).as_numpy_iterator()
        for (path, _), (pixels, _) in zip(records(source, split), decoded, strict=True):
            assert np.array_equal(pixels, read_image(path)), path
        images, _ = next(iter(batches(source, split, image_size=16, batch_size=17)))
        assert images.shape == (source.splits[split], 16, 16, 3)


def test_links_are_followed(folder, tmp_path):
    elsewhere = folder({"c": 3}, root="elsewhere")
    root = folder({"a": 2, "b": 2})
    (root / "a" / "more").symlink_to(elsewhere / "c")
    assert sum(open_source(root).splits.values()) == 7


def paths(source):
    return sorted(path for split in source.splits for path, _ in records(source, split))


@FOUND
@pytest.mark.parametrize("name", [".ipynb_checkpoints", "__MACOSX", ".thumbnails"])
def test_hidden_folders_inside_classes_are_left_out(folder, name):
    """They hold copies, which would be trained on and held out both."""
    root = folder({"a": 3, "b": 3})
    shutil.copytree(root / "a", root / "a" / name)
    shutil.copytree(root / "a", root / "b" / "deep" / name)
    assert sum(open_source(root).splits.values()) == 6


@FOUND
@pytest.mark.parametrize("target", ["..", "../..", "/", ".", "../b", "../b/0.jpg"])
@pytest.mark.parametrize("place", ["a/link", "a/deep/link"])
def test_each_file_counts_once_whatever_leads_to_it(folder, place, target):
    root = folder({"a": 4, "b": 4})
    expected = paths(open_source(root))
    link = root / place
    link.parent.mkdir(exist_ok=True)
    if place == "a/deep/link" and not target.startswith("/"):
        target = f"../{target}"
    link.symlink_to(target)
    assert paths(open_source(root)) == expected


@FOUND
def test_a_link_beside_the_classes_that_leads_up_is_no_class(folder):
    root = folder({"a": 4, "b": 4})
    (root / "up").symlink_to("..")
    (root / "itself").symlink_to(".")
    assert open_source(root).class_names == ("a", "b")


@FOUND
@pytest.mark.filterwarnings("ignore:.*(left out|skipped)")
@pytest.mark.parametrize("name", ["loop", "__loop", "loop.jpg"])
def test_a_link_to_itself_is_no_folder_and_no_image(folder, name):
    root = folder({"a": 4, "b": 4})
    expected = paths(open_source(root))
    (root / "a" / name).symlink_to(f"{name}/0.jpg")  # and it is said
    assert paths(open_source(root, on_error="skip")) == expected


@FOUND
def test_links_into_a_hidden_store_are_the_images(folder, tmp_path):
    """As data sets under version control have them."""
    root = folder({"a": 0, "b": 0})
    shutil.copytree(folder({".store": 8}, root="made") / ".store", root / ".store")
    for number in range(8):
        link = root / "ab"[number % 2] / f"{number}.jpg"
        link.symlink_to(f"../.store/{number}.jpg")
    (root / "b" / "again.jpg").symlink_to("../.store/0.jpg")
    (root / "c").symlink_to(folder({"other": 8}, root="elsewhere") / "other")
    source = open_source(root)
    assert source.class_names == ("a", "b", "c")
    assert sum(source.splits.values()) == 16
    assert not any("again" in path for path in paths(source))


@FOUND
def test_a_class_folder_whose_name_is_no_unicode(folder):
    """Its name can be written nowhere, after the last epoch neither."""
    root = folder({"a": 3, "b": 3})
    os.rename(root / "a", os.fsencode(root) + b"/caf\xe9")
    source = open_source(root)
    assert source.class_names == ("b", r"caf\xe9")
    assert len([*source.dataset("train")]) == source.splits["train"]


@FOUND
def test_a_pipe_is_no_image_and_is_not_waited_for(folder):
    root = folder({"a": 3, "b": 3})
    os.mkfifo(root / "a" / "pipe.jpg")
    (root / "b" / "link.jpg").symlink_to("../a/pipe.jpg")
    assert sum(open_source(root).splits.values()) == 6


@FOUND
def test_what_is_left_out_is_counted_by_ending_and_said(folder):
    root = folder({"a": 3, "b": 3})
    for name in ("a/1.heic", "a/2.HEIC", "b/deep/notes.txt", "b/LICENSE", "b/.hidden"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("no image")
    with pytest.warns(UserWarning, match=r"left out: 2 \.heic, 1 \(no .*1 \.txt\. Th"):
        source = open_source(root)
    assert source.left_out == {".heic": 2, ".txt": 1, "(no ending)": 1}
    assert len(source.notes) == 1


@FOUND
def test_images_that_are_trained_on_and_held_out_are_said(folder):
    root = folder({"train/a": 3, "train/b": 3, "test/a": 2, "test/b": 2, "val/a": 1})
    rng = np.random.default_rng(0)
    for path in sorted(root.rglob("*.jpg")):
        pixels = rng.integers(0, 255, (99, 99, 3), np.uint8)
        Image.fromarray(pixels).save(path, quality=95)
    assert open_source(root).notes == ()
    shutil.copy(root / "train/a/1.jpg", root / "test/b/copy.jpg")
    shutil.copy(root / "train/a/1.jpg", root / "test/b/another.jpg")
    # The same size and the same ends are not enough.
    near = bytearray((root / "train/b/1.jpg").read_bytes())
    near[len(near) // 2] ^= 1
    (root / "val/a/near.jpg").write_bytes(near)
    assert len(near) > 2 * 4096
    with pytest.warns(UserWarning, match=r"2 images of 'test' .*byte for byte") as said:
        source = open_source(root)
    assert len(said) == 1
    assert "'train/a/1.jpg'" in str(said[0].message)
    assert source.splits["test"] == 6


@FOUND
def test_copies_in_a_folder_that_is_split_are_said(folder):
    root = folder({"a": 10, "b": 10})
    for path in list(root.rglob("*.jpg")):
        shutil.copy(path, path.with_name(f"copy of {path.name}"))
    with pytest.warns(UserWarning, match=r"images of 'test' in .* are also trained on"):
        open_source(root)


@FOUND
def test_large_images_are_not_decoded_at_the_same_time(folder, monkeypatch):
    """16 files of 13,300 x 13,300 pixels took over 4 GB."""
    root = folder({"a": 0, "b": 0})
    for name in ("a/1", "a/2", "a/3", "b/1", "b/2", "b/3"):
        Image.new("L", (200, 200)).save(root / f"{name}.png")
    monkeypatch.setattr(images_room, "_DECODING_BYTES", 2 * 12 * 200 * 200)
    load, lock, running, most = PngImageFile.load, threading.Lock(), set(), []

    def watched(image):
        with lock:
            running.add(id(image))
            most.append(len(running))
        time.sleep(0.02)
        try:
            return load(image)
        finally:
            with lock:
                running.discard(id(image))

    monkeypatch.setattr(PngImageFile, "load", watched)
    with pytest.warns(UserWarning, match="byte for byte"):
        source = open_source(root)
    assert max(most) == 2
    list(source.dataset("train"))
    assert max(most) == 2


@FOUND
def test_huge_jpeg_files_are_left_to_pillow(folder, monkeypatch):
    root = folder({"a": 2, "b": 2})
    assert images_room.check_image(root / "a/0.jpg").plain_jpeg
    monkeypatch.setattr(images_room, "_MOST_PIXELS_OF_PLAIN_JPEG", 24 * 36 - 1)
    assert not images_room.check_image(root / "a/0.jpg").plain_jpeg


def test_the_same_class_in_both_unicode_forms(folder):
    composed = unicodedata.normalize("NFC", "möwe")
    decomposed = unicodedata.normalize("NFD", "möwe")
    root = folder(
        {f"train/{composed}": 2, "train/b": 2, f"test/{decomposed}": 1, "test/b": 1}
    )
    source = open_source(root)
    assert source.class_names == ("b", composed)
    assert source.splits == {"train": 4, "test": 2}


def test_grey_folders_have_one_channel(folder):
    root = folder({"a": 2, "b": 2}, suffix=".png")
    for path in root.rglob("*.png"):
        Image.open(path).convert("L").save(path)
    source = open_source(root)
    assert source.channels == 1
    assert next(iter(source.dataset("train")))[0].shape == (24, 36, 1)
    images, _ = next(
        iter(batches(source, "train", image_size=20, batch_size=2, channels=3))
    )
    assert images.shape == (2, 20, 20, 3)


@pytest.mark.filterwarnings("ignore:.*byte for byte")
def test_colours_become_grey_by_their_luma(folder):
    root = folder({"a": 2, "b": 2}, suffix=".png")
    for path in root.rglob("*.png"):
        Image.new("RGB", (8, 8), (0, 255, 0)).save(path)
    source = open_source(root)
    dataset = batches(source, "train", image_size=8, batch_size=2, channels=1)
    images, _ = next(iter(dataset))
    assert images.shape == (2, 8, 8, 1)
    np.testing.assert_array_equal(images, 150)  # as Pillow rounds 149.7


@pytest.mark.filterwarnings("ignore:.*byte for byte")
@pytest.mark.parametrize(
    ("shape", "most", "mean"),
    # The large one is decoded smaller, from corners that are up to 7 pixels off.
    [((90, 131), 4, 0.05), ((900, 1310), 8, 1.5)],
)
def test_fused_decode_and_crop_equals_decode_then_crop(
    folder, picture, shape, most, mean
):
    root = folder({"a": 2, "b": 2})
    for path in root.rglob("*.jpg"):
        Image.fromarray(picture(*shape)).save(path)
    source = open_source(root)
    kwargs = {
        "image_size": 24, "batch_size": 2, "training": True, "epoch": 0,
        "augmentation": "imagenet",
    }  # fmt: skip
    fused = batches(source, "train", **kwargs).take(20)
    whole = batches(source, "train", cache=True, **kwargs).take(20)
    for (images, labels), (same, same_labels) in zip(fused, whole, strict=True):
        # Colours are stored at half the size: at a window's border they differ a bit.
        assert np.max(np.abs(images - same)) < most
        assert np.mean(np.abs(images - same)) < mean
        assert np.array_equal(labels, same_labels)


def test_large_photographs_are_decoded_smaller(picture):
    file = io.BytesIO()
    Image.fromarray(picture(900, 1310)).save(file, "JPEG")
    for side, ratio in ((24, 8), (60, 4), (110, 2), (250, 1)):
        window = Window(lambda shape: tf.constant([9, 7, 800, 1000]), (side, side))
        image = decode_jpeg(tf.constant(file.getvalue()), channels=3, window=window)
        assert image.shape == (800 // ratio, 1000 // ratio, 3)


@pytest.mark.filterwarnings("ignore:.*byte for byte")
def test_whole_photographs_are_decoded_smaller_in_training(folder, picture):
    root = folder({"a": 2, "b": 2})
    for path in root.rglob("*.jpg"):
        Image.fromarray(picture(900, 1310)).save(path)
    source = open_source(root)
    for side, smaller in ((24, True), (300, False)):
        sizes = {"image_size": side, "batch_size": 1}
        trained = batches(source, "train", training=True, epoch=0, **sizes)
        seen = batches(source, "train", **sizes)
        (one, _), (other, _) = (next(iter(found)) for found in (trained, seen))
        difference = np.abs(one - other).mean()
        assert 0 < difference < 1.5 if smaller else difference == 0


def test_odd_formats_are_cropped_too(folder, picture):
    source = open_source(folder({"a": 2, "b": 2}, suffix=".png"))
    dataset = batches(
        source, "train", image_size=12, batch_size=2, training=True,
        augmentation="imagenet",
    )  # fmt: skip
    images = np.concatenate([images for images, _ in dataset])
    # Red is the column and green the row: a window shows a part of both ranges.
    assert images.shape == (2, 12, 12, 3)
    assert np.all(np.diff(images[..., 0], axis=2).mean(axis=(1, 2)) != 0)
    assert len(np.unique(images[:, 0, 0, 1])) == 2


def test_broken_images_are_named(folder):
    root = folder({"a": 4, "b": 4})
    (root / "a" / "2.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a/2.jpg' is empty"):
        open_source(root)


def test_broken_images_are_skipped_and_counted_when_asked(folder):
    root = folder({"a": 4, "b": 4})
    (root / "a" / "2.jpg").write_bytes(b"")
    whole = (root / "b" / "1.jpg").read_bytes()
    (root / "b" / "1.jpg").write_bytes(whole[:-20])
    with pytest.warns(UserWarning, match="2 images below .* are skipped") as caught:
        source = open_source(root, on_error="skip")
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert source.skipped == 2
    assert source.splits == {"train": 4, "test": 2}
    images, _ = next(iter(batches(source, "train", image_size=8, batch_size=8)))
    assert len(images) == 4


def spoil(path):
    """Something that its header does not show, and its end neither."""
    contents = path.read_bytes()
    pixels = contents.rfind(b"\xff\xda")
    path.write_bytes(contents[:pixels] + b"\xff\xda\x00\x01 nothing \xff\xd9")


def test_images_broken_inside_are_skipped_too_when_asked(folder):
    root = folder({"a": 4, "b": 4})
    spoil(root / "a" / "2.jpg")
    assert sum(open_source(root).splits.values()) == 8
    with pytest.warns(UserWarning, match=r"1 images .*the first: .*a/2\.jpg"):
        source = open_source(root, on_error="skip")
    assert source.skipped == 1
    assert sum(1 for split in source.splits for _ in source.dataset(split)) == 7


def test_the_first_image_that_cannot_be_read_any_more(folder):
    root = folder({"a": 3, "b": 3})
    source = open_source(root)
    assert source.reader.first_unreadable() is None
    spoil(root / "b" / "1.jpg")
    assert "b/1.jpg' cannot be read: " in source.reader.first_unreadable()


def test_a_class_of_broken_images_is_an_error_even_then(folder):
    root = folder({"a": 2, "b": 1})
    (root / "b" / "0.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"class folder 'b' of .* has no image"):
        open_source(root, on_error="skip")


def test_links_that_lead_nowhere_are_skipped_when_asked(folder):
    root = folder({"a": 3, "b": 3})
    (root / "a" / "gone.jpg").symlink_to(root / "nowhere.jpg")
    with pytest.raises(FileNotFoundError, match=r"a/gone\.jpg"):
        open_source(root)
    with pytest.warns(UserWarning, match=r"1 images .*a/gone\.jpg"):
        assert open_source(root, on_error="skip").skipped == 1


def test_a_split_without_any_readable_image_is_an_error(folder):
    root = folder({"train/a": 2, "train/b": 2, "test/a": 1})
    (root / "test" / "a" / "0.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"'test' of .* can be read.*a/0\.jpg"):
        open_source(root, on_error="skip")


def test_an_image_that_vanishes_is_named(folder):
    root = folder({"a": 2, "b": 2})
    source = open_source(root)
    shutil.rmtree(root)
    with pytest.raises(tf.errors.NotFoundError, match=r"photos/[ab]/[01].jpg"):
        next(iter(source.dataset("train")))


def test_a_class_with_one_image_is_trained_on_and_said_so(folder):
    root = folder({"a": 5, "b": 1})
    with pytest.warns(UserWarning, match="have only one image.*: b") as caught:
        source = open_source(root)
    assert caught[0].filename == __file__
    assert source.splits == {"train": 5, "test": 1}
    assert 1 in [label for _, label in records(source, "train")]


def test_two_images_of_a_class_are_shared_out(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source = open_source(folder({"a": 2, "b": 2}))
    assert source.splits == {"train": 2, "test": 2}


def test_names_that_are_no_valid_unicode(folder):
    root = folder({"a": 3, "b": 3}, suffix=".png")
    source_path = root / "a" / "0.png"
    source_path.rename(root / "a" / "\udcff.png")
    source = open_source(root)
    assert sum(1 for split in source.splits for _ in source.dataset(split)) == 6


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, "photos' has no class folders with images. The folder must have a"),
        (
            {"a": 0, "b": 0},
            "photos' has no class folders with images.*The accepted formats are",
        ),
        ({"a": 3}, "photos' has one class folder, 'a'. A classifier needs at"),
        ({"a": 3, "b": 0}, "The class folder 'b' of '.*photos' has no image"),
        ({"test/a": 2, "val/a": 2}, "no train/ with class folders. Received: test, v"),
        (
            {f"{part}/a": 1 for part in ("train", "test", "val", "valid")},
            "at most two held-out ones. Received: train, test, val, valid. Rem",
        ),
        ({"a": 1, "b": 1}, "photos' has only one image in each class, so no image"),
        (
            {"train/a": 2, "train/b": 2, "test/c": 1},
            r"photos/test' must also be in '.*train'. Received: \['c'\]",
        ),
        (
            {"train/a": 2, "train/b": 2, "test/a": 0},
            "photos/test' has no class folders with images. The folder must",
        ),
    ],
)
def test_folders_without_what_is_needed(folder, tmp_path, counts, message):
    (tmp_path / "photos").mkdir()
    with pytest.raises(ValueError, match=message):
        open_source(folder(counts))


def test_slices_have_their_share_of_each_class(folder):
    root = folder({"train/a": 20, "train/b": 5, "test/a": 2, "test/b": 2})
    source = open_source(root)

    first, second = (records(source, f"train[{ends}]") for ends in (":80%", "80%:"))
    assert np.bincount([label for _, label in first]).tolist() == [16, 4]
    assert np.bincount([label for _, label in second]).tolist() == [4, 1]
    assert sorted(first + second) == sorted(records(source, "train"))
    assert [label for _, label in records(source, "train")[:10]] == [0, 1] * 5
