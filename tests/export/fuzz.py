"""Throws damaged image files at an exported `classify_bytes`.

`python fuzz.py FOLDER CASES SEED LAST`: prints one JSON line of counts. The file LAST
holds the image that is being tried, so that one that ends the process is known.
"""

import collections
import json
import re
import resource
import sys
from pathlib import Path

import encoded
import numpy as np
import tensorflow as tf

VERDICTS = re.compile(
    r"\[Image 1 (is empty|is not a|has no pixels|has \d+ x \d+ pixels|is a|is damaged)"
)
SIZES = (
    0,
    1,
    2,
    7,
    255,
    256,
    7072,
    16_383,
    32_767,
    60_000,
    65_535,
    2**31 - 1,
    2**32 - 1,
)


def mutate(data, other, rng):
    """Damages a file: cut, filled, flipped, spliced, its numbers changed."""
    data = bytearray(data)
    kind = rng.integers(7)
    at = int(rng.integers(len(data)))
    if kind == 0:
        return bytes(data[:at])
    if kind == 1:
        return bytes(data[:at]) + other[int(rng.integers(len(other))) :]
    if kind == 2:
        return bytes(data) + bytes(rng.integers(0, 256, 50, dtype="uint8"))
    if kind == 3:
        del data[at : at + int(rng.integers(1, 40))]
        return bytes(data)
    head = min(len(data), 64)
    for _ in range(int(rng.integers(1, 5))):
        if kind == 4:  # a number in the header
            size = int(rng.choice(SIZES)).to_bytes(
                4, str(rng.choice(["big", "little"]))
            )
            size = size[: rng.choice([2, 4])] if rng.random() < 0.5 else size
            at = int(rng.integers(head))
            data[at : at + len(size)] = size
        else:
            end = head if kind == 5 else len(data)
            data[int(rng.integers(end))] = int(rng.integers(256))
    return bytes(data)


def main(folder, cases, seed, last):
    classify = tf.saved_model.load(folder).signatures["classify_bytes"]
    rng = np.random.default_rng(int(seed))
    good = encoded.files()
    files = list(good.values()) + [encoded.animated_webp()]
    for size in ((60_000, 60_000), (0, 0), (1, 65_535), (7_000, 7_000)):
        files += encoded.claiming(*size).values()
    counts = collections.Counter()
    for case in range(int(cases)):
        content = files[case % len(files)]
        if case >= len(files):
            content = mutate(content, files[rng.integers(len(files))], rng)
        Path(last).write_bytes(content)
        try:
            classify(image_bytes=tf.constant([good["gif"], content]))
            counts["decoded"] += 1
        except tf.errors.InvalidArgumentError as error:
            found = VERDICTS.search(str(error))
            if found is None:
                raise
            counts[re.sub(r"\d+ x \d+", "many", found[1])] += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"counts": counts, "peak_megabytes": peak}))


if __name__ == "__main__":
    main(*sys.argv[1:])
