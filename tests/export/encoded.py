"""Image files to try: every kind that is read, and headers that claim what is not."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def pixels(height=30, width=40, seed=0):
    """A smooth picture of random colours, uint8 (height, width, 3)."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype="uint8"))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def encode(image, kind, **options):
    """The bytes of a file of a Pillow image."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def files(height=30, width=37):
    """Files of one picture by name, as Pillow writes them."""
    rgb = Image.fromarray(pixels(height, width))
    turned = rgb.rotate(180)
    palette = rgb.quantize(16)
    clear = rgb.quantize(16)
    clear.info["transparency"] = 3
    modes = {
        "rgb": rgb,
        "grey": rgb.convert("L"),
        "rgba": rgb.convert("RGBA"),
        "palette": palette,
        "bits": rgb.convert("1"),
    }
    grey16 = Image.fromarray(np.asarray(modes["grey"]).astype("uint16") * 257)
    png = {f"png {mode}": encode(image, "PNG") for mode, image in modes.items()}
    bmp = {f"bmp {mode}": encode(image, "BMP") for mode, image in modes.items()}
    sheer = modes["rgba"].copy()
    sheer.putalpha(turned.convert("L"))
    more = {"save_all": True, "append_images": [turned]}
    return {
        "jpeg rgb": encode(rgb, "JPEG"),
        "jpeg grey": encode(modes["grey"], "JPEG"),
        "jpeg cmyk": encode(rgb.convert("CMYK"), "JPEG"),
        "jpeg progressive": encode(rgb, "JPEG", progressive=True),
        **png,
        "png 16 bits": encode(grey16, "PNG"),
        "png clear": encode(clear, "PNG"),
        **bmp,
        "bmp from the top": _from_the_top(bmp["bmp rgb"]),
        "gif": encode(palette, "GIF"),
        "gif animated": encode(palette, "GIF", **more),
        "gif clear": encode(clear, "GIF"),
        "webp": encode(rgb, "WEBP"),
        "webp lossless": encode(rgb, "WEBP", lossless=True),
        "webp rgba": encode(modes["rgba"], "WEBP", lossless=True),
        "webp clear": encode(sheer, "WEBP"),
        "webp lossless clear": encode(sheer, "WEBP", lossless=True),
    }


def animated_webp():
    """TensorFlow 2.21 writes beyond its buffer where it is asked for all channels."""
    rgb = Image.fromarray(pixels())
    turned = rgb.rotate(180)
    return encode(rgb, "WEBP", save_all=True, append_images=[turned], lossless=True)


def _from_the_top(data):
    """The same BMP with its rows in the other order and the height negative."""
    start, height = (
        struct.unpack("<i", data[10:14])[0],
        struct.unpack("<i", data[22:26])[0],
    )
    row = (len(data) - start) // height
    rows = [data[at : at + row] for at in range(start, len(data), row)]
    head = data[:22] + struct.pack("<i", -height) + data[26:start]
    return head + b"".join(rows[::-1])


def claiming(height, width):
    """Small files by name whose headers claim a size; there are few pixels in them."""
    known = files()
    bmp, gif, jpeg = (bytearray(known[name]) for name in ("bmp rgb", "gif", "jpeg rgb"))
    bmp[18:26] = struct.pack("<ii", width, height)
    corner = gif.index(b"\x2c\0\0\0\0") + 5
    for at in (6, corner):
        gif[at : at + 4] = struct.pack("<HH", width, height)
    frame = jpeg.index(b"\xff\xc0") + 5
    jpeg[frame : frame + 4] = struct.pack(">HH", height, width)
    side = b"VP8X" + struct.pack("<II", 10, 0)
    side += struct.pack("<I", max(width - 1, 0))[:3]
    side += struct.pack("<I", max(height - 1, 0))[:3]
    webp = side + known["webp"][12:]
    return {
        "jpeg": bytes(jpeg),
        "png": _png(height, width),
        "bmp": bytes(bmp),
        "gif": bytes(gif),
        "webp": b"RIFF" + struct.pack("<I", len(webp) + 4) + b"WEBP" + webp,
    }


def _png(height, width):
    def chunk(name, data):
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)
