import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from keras_senet.data import is_image_file, read_image
from keras_senet.data.images import check_image

ORIENTATION = 0x0112
# Where the picture's first row and column are in a file of that orientation (EXIF 2.3).
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[::-1],
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: a[::-1].transpose(1, 0, 2),
}


def png_16_bit(path, pixels):
    """Writes a 16-bit PNG, grey (H, W) or RGB (H, W, 3), which Pillow cannot."""
    height, width = pixels.shape[:2]
    rows = pixels.astype(">u2").reshape(height, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 16, 2 * (pixels.ndim - 2), 0, 0, 0)

    def chunk(kind, body):
        checksum = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)

    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp"])
def test_lossless_formats_give_the_pixels(tmp_path, picture, suffix):
    path = tmp_path / f"image{suffix}"
    Image.fromarray(picture()).save(path, lossless=True)
    pixels = read_image(path)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, picture())


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 95}]
)
def test_jpeg_gives_about_the_pixels(tmp_path, picture, options):
    path = tmp_path / "image.JPG"
    Image.fromarray(picture()).save(path, "JPEG", **options)
    assert read_image(path).shape == (24, 36, 3)
    assert np.mean(np.abs(read_image(path).astype(int) - picture())) < 3


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_exif_orientation_is_honoured(tmp_path, picture, orientation, suffix):
    path = tmp_path / f"turned{suffix}"
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](picture())))
    stored.save(path, exif=exif, lossless=True)
    assert np.array_equal(read_image(path), picture())
    assert check_image(path).size == (24, 36)


def test_exif_orientation_of_a_jpeg(tmp_path, picture):
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    stored = Image.fromarray(np.ascontiguousarray(STORED[6](picture())))
    stored.save(path, exif=exif, quality=95)
    assert np.mean(np.abs(read_image(path).astype(int) - picture())) < 3
    assert check_image(path).size == (24, 36)
    assert not check_image(path).plain_jpeg


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
@pytest.mark.parametrize("exif", [b"Exif\0\0II*\0broken", b"Exif\0\0nonsense", b"E"])
def test_broken_exif_is_no_reason_to_fail(tmp_path, picture, exif):
    path = tmp_path / "image.jpg"
    Image.fromarray(picture()).save(path, exif=exif)
    assert read_image(path).shape == (24, 36, 3)
    assert check_image(path).plain_jpeg


def test_cmyk_jpeg(tmp_path, picture):
    path = tmp_path / "print.jpg"
    Image.fromarray(picture()).convert("CMYK").save(path, quality=95)
    assert np.mean(np.abs(read_image(path).astype(int) - picture())) < 4
    assert not check_image(path).plain_jpeg


def test_sixteen_bit_png_keeps_the_upper_bits(tmp_path, picture):
    colour = picture().astype(np.uint16) * 256 + 99
    png_16_bit(tmp_path / "colour.png", colour)
    png_16_bit(tmp_path / "grey.png", colour[..., 0])
    assert np.array_equal(read_image(tmp_path / "colour.png"), picture())
    grey = read_image(tmp_path / "grey.png", channels=1)
    assert np.array_equal(grey, picture()[..., :1])
    assert check_image(tmp_path / "grey.png").grey


def test_transparency_is_ignored(tmp_path, picture):
    alpha = np.full((24, 36, 1), 40, np.uint8)
    rgba = Image.fromarray(np.concatenate([picture(), alpha], -1))
    rgba.save(tmp_path / "alpha.png")
    assert np.array_equal(read_image(tmp_path / "alpha.png"), picture())
    grey = Image.fromarray(picture()[..., 0]).convert("LA")
    grey.putalpha(40)
    grey.save(tmp_path / "grey.png")
    assert np.array_equal(
        read_image(tmp_path / "grey.png", channels=1), picture()[..., :1]
    )


def test_palette_with_an_alpha_a_colour(tmp_path, picture):
    path = tmp_path / "palette.png"
    image = Image.fromarray(picture()).quantize(16)
    image.save(path, transparency=bytes(range(16)))
    expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(read_image(path), expected)


def test_gif_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("red", "blue")]
    path = tmp_path / "moving.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert np.array_equal(read_image(path), np.full((4, 5, 3), (255, 0, 0)))


def test_black_and_white(tmp_path):
    path = tmp_path / "bits.png"
    Image.fromarray(np.eye(4, dtype=bool)).save(path)
    assert np.array_equal(read_image(path, channels=1)[..., 0], np.eye(4) * 255)
    assert check_image(path).grey


def test_grey_is_the_luma_of_colours(tmp_path):
    path = tmp_path / "green.png"
    Image.new("RGB", (2, 2), (0, 255, 0)).save(path)
    assert read_image(path, channels=1).tolist() == [[[150], [150]]] * 2


def test_names_with_spaces_and_umlauts(tmp_path, picture):
    path = tmp_path / "Größe 1 Ü.png"
    Image.fromarray(picture()).save(path)
    assert np.array_equal(read_image(str(path)), picture())


@pytest.mark.parametrize("check", [read_image, check_image])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "'.*broken.jpg' is empty. The accepted formats are JPEG"),
        (
            b"hello, world",
            "'.*broken.jpg' is not an image. The accepted formats are JPEG",
        ),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "broken.jpg' is not an image"),
        (b"\x89PNG\r\n\x1a\n", "broken.jpg' (cannot be read|is not an image)"),
    ],
)
def test_what_is_no_image_is_named(tmp_path, check, content, message):
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        check(path)
    assert "\n" not in str(caught.value)


def test_other_formats_are_refused_whatever_their_name(tmp_path, picture):
    path = tmp_path / "scan.jpg"
    Image.fromarray(picture()).save(path, "PCX")
    with pytest.raises(
        ValueError, match=r"scan.jpg' is not an image. The accepted formats are"
    ):
        read_image(path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiff_files_are_turned_once(tmp_path, picture, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ("a.tiff", "a.png"):
        Image.fromarray(picture()).save(tmp_path / name, exif=exif)
    turned = read_image(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.tiff"), turned)
    assert check_image(tmp_path / "a.tiff").size == turned.shape[:2]


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "jpeg", "tiff_deflate"])
def test_tiff_files(tmp_path, picture, compression):
    pages = [Image.fromarray(picture(hue=hue)) for hue in (0, 3)]
    options = {"save_all": True, "append_images": pages[1:], "compression": compression}
    pages[0].save(tmp_path / "scan.tif", **options)
    difference = np.abs(read_image(tmp_path / "scan.tif").astype(int) - picture())
    assert difference.mean() < 4
    Image.fromarray(picture()[..., 0].astype(np.uint16) * 256).save(tmp_path / "16.tif")
    assert np.array_equal(
        read_image(tmp_path / "16.tif", channels=1), picture()[..., :1]
    )


@pytest.mark.parametrize("check", [read_image, check_image])
@pytest.mark.parametrize("kind", ["float32", "int32"])
def test_numbers_of_an_unknown_range_are_no_pixels(tmp_path, picture, check, kind):
    Image.fromarray(picture()[..., 0].astype(kind)).save(tmp_path / "f.tiff")
    with pytest.raises(ValueError, match=r"f.tiff' cannot be read: its pixels are num"):
        check(tmp_path / "f.tiff")


@pytest.mark.parametrize("check", [read_image, check_image])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".gif", ".webp", ".bmp", ".tif"])
def test_a_file_that_is_cut_off_is_named(tmp_path, picture, check, suffix):
    path = tmp_path / f"cut{suffix}"
    Image.fromarray(picture(200, 300)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=f"cut{suffix}' (cannot be read|is not an)"):
        check(path)


def test_bytes_after_the_end_of_a_jpeg_do_no_harm(tmp_path, picture):
    path = tmp_path / "trailing.jpg"
    Image.fromarray(picture()).save(path)
    path.write_bytes(path.read_bytes() + b"\0" * 100)
    assert check_image(path).plain_jpeg


def test_a_picture_made_to_fill_the_memory_is_refused(tmp_path, monkeypatch, picture):
    path = tmp_path / "bomb.png"
    Image.fromarray(picture()).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match=r"bomb.png' cannot be read.*decompression"):
        read_image(path)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no image file '.*no.jpg'"):
        read_image(tmp_path / "no.jpg")
    with pytest.raises(ValueError, match="is a folder"):
        read_image(tmp_path)
    with pytest.raises(ValueError, match=r"`channels` must be .*channels=4"):
        read_image(tmp_path / "no.jpg", channels=4)


def test_is_image_file_goes_by_the_name(tmp_path):
    assert all(map(is_image_file, ["a.jpg", "a.JPEG", "a.png", "a.BMP", "a.tiff"]))
    assert all(map(is_image_file, ["a.WebP", "a.jfif", "a.jpe", "a.TIF", "a.gif"]))
    assert is_image_file(tmp_path / "a.b.png")
    assert not any(map(is_image_file, ["a.txt", "jpg", "a.heic", "a.jpg.zip"]))
