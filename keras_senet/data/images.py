"""One image file to pixels, whatever its format and mode."""

import contextlib
import logging
import os
import struct
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from keras_senet.utils.errors import require

# What it says of a broken file beside the exception would be a line without the path.
logging.getLogger("PIL").addHandler(logging.NullHandler())

EXTENSIONS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"
)  # fmt: skip
# Of the picture that `predict` writes beside a photograph, which is none of the data.
EXPLAINED = ".explained.png"
ACCEPTED = "The accepted formats are JPEG, PNG, BMP, GIF, WebP and TIFF."
# Other formats stay closed: some run programs, and no folder of photos means them.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF")
# MPO is Pillow's word for a JPEG with further pictures behind the first one.
_JPEG = ("JPEG", "MPO")
GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16L", "I;16B")
_ORIENTATION = 0x0112

# Images that are decoded at the same time take about so much memory at most, or one of
# them takes more. Pillow has four bytes a pixel, and copies them on the way.
_DECODING_BYTES = 2**30
_PIXEL_BYTES = 12
# TensorFlow decodes as many JPEG files at a time as there are cores, so larger ones are
# left to Pillow.
_MOST_PIXELS_OF_PLAIN_JPEG = 2**25

_UNREADABLE = (
    OSError,  # truncated, unknown compression
    SyntaxError,  # Pillow's word for a broken header or checksum
    ValueError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
)
# ImageOps.exif_transpose also rewrites the EXIF data, and fails where it is broken.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageHeader(NamedTuple):
    """What is known of an image file before its pixels are decoded."""

    size: tuple[int, int]
    """(height, width) as shown, after the EXIF orientation."""
    grey: bool
    plain_jpeg: bool
    """An RGB or grey JPEG, not turned and not huge: tf.io reads the same pixels."""


def is_image_file(path: str | os.PathLike) -> bool:
    """Whether a name has the extension of an image: .jpg, .png, .webp, .tif, ...

    Args:
        path: A path; the file need not exist.

    Example:

    >>> keras_senet.data.is_image_file("cat.jpg")
    True
    """
    return os.fspath(path).lower().endswith(EXTENSIONS)


def read_image(path: str | os.PathLike, *, channels: int = 3) -> np.ndarray:
    """Reads an image file.

    EXIF orientation is applied. 16-bit images keep their upper 8 bits, animations their
    first frame, documents their first page. Transparency is ignored, as in tf.io.

    Args:
        path: A JPEG (CMYK too), PNG, BMP, GIF, WebP or TIFF file.
        channels: 3 for RGB, 1 for grey.

    Returns:
        uint8 (H, W, channels).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not an image that can be read.

    Example:

    >>> keras_senet.data.read_image("cat.jpg").shape
    (60, 40, 3)
    """
    require(channels in (1, 3), "be 1 (grey) or 3 (RGB)", channels=channels)
    with _opened(path) as image, _decoding(image):
        turn, upright = _TURNS.get(_orientation(image)), _eight_bits(image)
        if turn is not None:
            upright = upright.transpose(turn)
        upright = upright.convert("L" if channels == 1 else "RGB")
        return np.array(upright).reshape(upright.height, upright.width, channels)


def check_image(path: str | os.PathLike, *, whole: bool = False) -> ImageHeader:
    """Reads an image's header, and as much more as tells whether the file is whole.

    With `whole` all of it is decoded: of a JPEG only that finds what is broken inside.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not an image that can be read.
    """
    with _opened(path) as image:
        if image.format not in _JPEG:
            with _decoding(image):  # also to find out how a PNG is turned
                image.load()
                _eight_bits(image).convert("RGB")  # raises where `read_image` does
                return _header(image)
        found = _header(image)
        if whole or not _ends_as_jpeg(path):
            image.draft(None, (1, 1))  # All bytes of a JPEG, an eighth of its pixels.
            with _decoding(image):
                image.load()
        return found


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[Image.Image]:
    """Opens an image; errors name the file and say what is accepted."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no image file {str(path)!r}.")
    if path.is_dir():
        raise ValueError(
            f"The image must be a file. Received: {str(path)!r}, which is a folder."
        )
    if path.stat().st_size == 0:
        raise ValueError(f"The image file {str(path)!r} is empty. {ACCEPTED}")
    try:
        with Image.open(path, formats=FORMATS) as image:
            yield image
    except UnidentifiedImageError:
        raise ValueError(f"{str(path)!r} is not an image. {ACCEPTED}") from None
    except PermissionError:
        raise
    except _UNREADABLE as error:
        raise ValueError(
            f"The image {str(path)!r} cannot be read: {error}. {ACCEPTED}"
        ) from error


def _header(image: Image.Image) -> ImageHeader:
    orientation = _orientation(image)
    return ImageHeader(
        size=image.size if orientation >= 5 else image.size[::-1],
        grey=image.mode in GREY_MODES,
        plain_jpeg=image.format in _JPEG
        and image.mode in ("L", "RGB")
        and orientation == 1
        and image.width * image.height <= _MOST_PIXELS_OF_PLAIN_JPEG,
    )


# What the images that are being decoded take together.
_memory = types.SimpleNamespace(used=0, changed=threading.Condition())


@contextlib.contextmanager
def _decoding(image: Image.Image) -> Iterator[None]:
    """Waits until an opened image's pixels fit beside those of other threads."""
    wanted = min(_PIXEL_BYTES * image.width * image.height, _DECODING_BYTES)
    with _memory.changed:
        _memory.changed.wait_for(lambda: _memory.used + wanted <= _DECODING_BYTES)
        _memory.used += wanted
    try:
        yield
    finally:
        with _memory.changed:
            _memory.used -= wanted
            _memory.changed.notify_all()


def _orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation, 1 to 8, or 1 where it is missing or broken."""
    if image.format == "TIFF":  # Pillow turns these itself.
        return 1
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, struct.error):
        return 1
    return value if value in range(1, 9) else 1


def _eight_bits(image: Image.Image) -> Image.Image:
    # Pillow's older versions have 16 bits of a PNG as 32.
    if image.mode in ("I;16", "I;16L", "I;16B") or (
        image.mode == "I" and image.format == "PNG"
    ):
        return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("its pixels are numbers of 32 bits, of an unknown range")
    if "transparency" in image.info:
        # A palette with an alpha value a colour: without this step Pillow warns.
        return image.convert("RGBA")
    return image


def _ends_as_jpeg(path: str | os.PathLike) -> bool:
    """Whether a file ends with JPEG's end marker, so that it is not cut off."""
    with open(path, "rb") as file:
        file.seek(-2, os.SEEK_END)
        return file.read() == b"\xff\xd9"
