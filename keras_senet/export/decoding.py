"""Encoded images to pixels inside a graph: untrusted bytes, any size, five formats.

The size is read from the header and checked before anything is decoded, because a file
of some hundred bytes can claim pixels that no memory holds.
"""

import tensorflow as tf

from keras_senet.data.decoding import decode_jpeg

MAX_PIXELS = 50_000_000
# Resizing covers the short side, so a thin image would grow beyond any memory.
MAX_ASPECT = 100
# Each scan of a progressive JPEG goes over all of its pixels; encoders write about 10.
MAX_SCANS = 100
# TensorFlow 2.18 does not.
READS_WEBP = hasattr(tf.raw_ops, "DecodeWebP")
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WebP")

_HEAD_BYTES = 64
_PARALLEL_IMAGES = 4
_DAMAGED = "is damaged or truncated"
_UNKNOWN = f"is not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image"


def decode_images(contents: tf.Tensor, fit, shape: tuple[int, int, int]) -> tf.Tensor:
    """Decodes a batch of encoded images, or fails and says which one is bad.

    Args:
        contents: Strings `(N,)`, one encoded image each.
        fit: Makes an image of `shape` of decoded uint8 pixels `(H, W, 3)`.
        shape: Height, width and channels of each result.

    Returns:
        float32 `(N, *shape)`.

    Raises:
        tf.errors.InvalidArgumentError: When it runs: if an image is empty, in another
            format, damaged or too large.
    """
    count = tf.shape(contents, tf.int64)[0]

    def load(index, content):
        problem, kind, content = check_image(content)
        image = tf.cond(
            problem == "",
            lambda: tf.cast(fit(decode_image(content, kind)), tf.float32),
            lambda: tf.zeros(shape),
        )
        return index, problem, tf.ensure_shape(image, shape)

    # A graph cannot catch a decoder's error, but a data set can leave the image out.
    dataset = tf.data.Dataset.from_tensor_slices(contents).enumerate()
    dataset = dataset.map(load, num_parallel_calls=_PARALLEL_IMAGES).ignore_errors()
    end = tf.data.Dataset.from_tensors((count, "", tf.zeros(shape)))
    indices, problems, images = (
        dataset.concatenate(end).batch(count + 1).get_single_element()
    )
    known = tf.tensor_scatter_nd_update(
        tf.fill([count + 1], _DAMAGED), indices[:, tf.newaxis], problems
    )
    bad = tf.where(known != "")[:, 0]
    first = tf.concat([bad, [0]], 0)[0]
    message = tf.strings.join(["Image", tf.strings.as_string(first), known[first]], " ")
    with tf.control_dependencies([tf.debugging.Assert(tf.size(bad) == 0, [message])]):
        images = tf.identity(images)
    return images[:-1]


def check_image(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Checks the header of an encoded image.

    Returns:
        What is wrong with it, "" for nothing; the number of its format; and what of it
        is to be decoded.
    """
    head = _head(content)
    found = [
        tf.reduce_any([_starts(head, mark) for mark in marks]) for marks, _ in _READERS
    ]
    kind = tf.where(
        tf.reduce_any(found), tf.argmax(found, output_type=tf.int32), len(_READERS)
    )
    readers = [lambda r=read: r(content, head) for _, read in _READERS]
    height, width, problem, content = tf.switch_case(
        kind, [*readers, lambda: _unknown(content)]
    )
    return _first([problem, _size_problem(height, width)]), kind, content


def decode_image(content: tf.Tensor, kind: tf.Tensor) -> tf.Tensor:
    """Decodes an image that `check_image` passed to uint8 `(H, W, 3)`."""
    image = tf.switch_case(
        tf.minimum(kind, 3),
        [
            lambda: decode_jpeg(content, channels=3),
            lambda: _decode_bmp(content, _head(content)),
            # TensorFlow refuses other channels than a WebP's own, and in 2.21 writes
            # beyond its buffer for those of an animated one, which never comes here.
            lambda: tf.io.decode_image(content, 0, expand_animations=False)[..., :3],
            lambda: tf.io.decode_image(content, 3, expand_animations=False),
        ],
    )
    return tf.ensure_shape(image, (None, None, 3))


def _first(texts):
    """The first text that is not empty."""
    result = texts[-1]
    for text in reversed(texts[:-1]):
        result = tf.where(text != "", text, result)
    return result


def _if(condition, text):
    return tf.where(condition, text, "")


def _unknown(content):
    one = tf.constant(1, tf.int64)
    empty = _if(tf.strings.length(content) == 0, "is empty")
    return one, one, _first([empty, tf.constant(_UNKNOWN)]), content


def _head(content: tf.Tensor) -> tf.Tensor:
    start = tf.strings.substr(content, 0, _HEAD_BYTES)
    padded = tf.io.decode_raw(start + b"\0" * _HEAD_BYTES, tf.uint8)
    return tf.cast(padded[:_HEAD_BYTES], tf.int64)


def _starts(head: tf.Tensor, mark: bytes, at: int = 0) -> tf.Tensor:
    return tf.reduce_all(head[at : at + len(mark)] == list(mark))


def _number(data: tf.Tensor, at, length: int) -> tf.Tensor:
    """The unsigned little-endian number of so many bytes, as int64."""
    parts = tf.cast(data[at : at + length], tf.int64)
    return tf.reduce_sum(parts * [256**i for i in range(length)])


def _size_problem(height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    short, long = tf.minimum(height, width), tf.maximum(height, width)
    pixels = tf.strings.format("has {} x {} pixels, ", (height, width))
    # Compared by division: the product of two header fields may overflow.
    many = long > MAX_PIXELS // tf.maximum(short, 1)
    return _first(
        [
            _if(short <= 0, "has no pixels"),
            _if(many, pixels + f"more than {MAX_PIXELS:,} in all"),
            _if(
                long > MAX_ASPECT * short,
                pixels + f"one side more than {MAX_ASPECT} times the other",
            ),
        ]
    )


def _read_jpeg(content, head):
    shape = tf.cast(tf.io.extract_jpeg_shape(content), tf.int64)
    data = tf.io.decode_raw(content, tf.uint8)
    scans = tf.math.count_nonzero((data[:-1] == 0xFF) & (data[1:] == 0xDA))
    problem = _if(scans > MAX_SCANS, f"is a JPEG of more than {MAX_SCANS} scans")
    return shape[0], shape[1], problem, content


def _read_png(content, head):
    width, height = (_number(head[at : at + 4][::-1], 0, 4) for at in (16, 20))
    problem = _if(~_starts(head, b"IHDR", 12), _DAMAGED)
    return height, width, problem, content


def _read_webp(content, head):
    lossless = _number(head, 21, 4)
    extended = _starts(head, b"VP8X", 12)
    size = tf.where(
        _starts(head, b"VP8L", 12),
        (lossless // 2**14 % 2**14 + 1, lossless % 2**14 + 1),
        (_number(head, 28, 2) % 2**14, _number(head, 26, 2) % 2**14),
    )
    size = tf.where(
        extended, (_number(head, 27, 3) + 1, _number(head, 24, 3) + 1), size
    )
    animated = extended & (head[20] // 2 % 2 == 1)
    problem = _first(
        [
            _if(~_starts(head, b"WEBP", 8), _UNKNOWN),
            "" if READS_WEBP else "is a WebP image, which needs a later TensorFlow",
            _if(animated, "is an animated WebP, which is not supported"),
        ]
    )
    return size[0], size[1], problem, content


def _read_gif(content, head):
    """The larger of the canvas and the first frame, whose size is its own."""
    content, height, width = _first_frame(content)
    height = tf.maximum(height, _number(head, 8, 2))
    width = tf.maximum(width, _number(head, 6, 2))
    return height, width, tf.constant(""), content


def _first_frame(content):
    """Returns a GIF with its first frame only, and that frame's height and width.

    The frames behind it are never decoded, and the extensions are left out: one of
    them would make pixels transparent, hence black.
    """
    data = tf.io.decode_raw(content, tf.uint8)

    def byte(at):
        return tf.cast(data[at], tf.int32)

    def after_table(at, flags):
        size = tf.where(flags >= 128, 3 * 2 ** (flags % 8 + 1), 0)
        return at + size

    def after_blocks(at):
        return (
            1
            + tf.while_loop(
                lambda at: byte(at) != 0, lambda at: (at + 1 + byte(at),), (at,)
            )[0]
        )

    start = after_table(13, byte(10))
    frame = tf.while_loop(
        lambda at: byte(at) == 0x21, lambda at: (after_blocks(at + 2),), (start,)
    )[0]
    is_frame = tf.debugging.Assert(byte(frame) == 0x2C, ["no frame"])
    with tf.control_dependencies([is_frame]):
        end = after_blocks(after_table(frame + 10, byte(frame + 9)) + 1)
    parts = [
        tf.strings.substr(content, 0, start),
        tf.strings.substr(content, frame, end - frame),
        b";",
    ]
    height, width = _number(data, frame + 7, 2), _number(data, frame + 5, 2)
    return tf.strings.join(parts), height, width


# Bits a pixel that are read: colours by number, BGR, BGR and one byte more.
_BMP_BITS = (1, 4, 8, 24, 32)
_BMP_RED_MASK = b"\0\0\xff\0"


def _read_bmp(content, head):
    bits, compression = _number(head, 28, 2), _number(head, 30, 4)
    plain = compression == 0
    masked = (compression == 3) & (bits == 32) & _starts(head, _BMP_RED_MASK, 54)
    known = tf.reduce_any(bits == list(_BMP_BITS)) & (plain | masked)
    # The older header of 12 bytes has its numbers elsewhere.
    known &= _number(head, 14, 4) >= 40
    height, width = (tf.cast(side, tf.int64) for side in _bmp_size(head))
    problem = _if(
        ~known,
        "is a BMP that is not supported: it must be uncompressed, of 1, 4, 8, 24 or 32 "
        "bits",
    )
    return tf.abs(height), width, problem, content


def _bmp_size(head):
    """The height, negative where the first row is the top one, and the width."""
    return tuple(
        tf.bitcast(tf.cast(_number(head, at, 4), tf.uint32), tf.int32)
        for at in (22, 18)
    )


def _decode_bmp(content, head):
    """Uncompressed BMP; TensorFlow's own takes palette numbers for grey values."""
    start, bits = tf.cast(_number(head, 10, 4), tf.int32), _number(head, 28, 2)
    bits = tf.cast(bits, tf.int32)
    height, width = _bmp_size(head)
    row = (width * bits + 31) // 32 * 4
    pixels = tf.strings.substr(content, start, row * tf.abs(height))
    rows = tf.reshape(tf.io.decode_raw(pixels, tf.uint8), (tf.abs(height), row))
    rows = rows[:: -tf.sign(height)]

    def colours():
        depth = bits // 8
        values = rows[:, : width * depth]
        return tf.reshape(values, (-1, width, depth))[..., :3]

    def numbers():
        shifts = tf.cast(tf.range(8 - bits, -1, -bits), tf.uint8)
        mask = tf.cast(2**bits - 1, tf.uint8)
        values = tf.bitwise.right_shift(rows[..., tf.newaxis], shifts) & mask
        values = tf.reshape(values, (-1, row * (8 // bits)))[:, :width]
        table_start = 14 + tf.cast(_number(head, 14, 4), tf.int32)
        table = tf.strings.substr(content, table_start, start - table_start)
        table = tf.reshape(tf.io.decode_raw(table, tf.uint8), (-1, 4))
        return tf.gather(table, tf.cast(values, tf.int32))[..., :3]

    return tf.cond(bits >= 24, colours, numbers)[..., ::-1]


# How each format may begin. `decode_image` knows the first ones by their place.
_READERS = (
    ([b"\xff\xd8\xff"], _read_jpeg),
    ([b"BM"], _read_bmp),
    ([b"RIFF"], _read_webp),
    ([b"\x89PNG\r\n\x1a\n"], _read_png),
    ([b"GIF87a", b"GIF89a"], _read_gif),
)
