"""The page's pixels: `picture.js` in Node.js against `resize_and_crop`."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_senet import Preprocessing
from keras_senet.preprocessing import resize_and_crop

PAGE = Path(__file__).parents[2] / "applications" / "web" / "page"

# A canvas that gives back the pixels that it is handed: what a browser's does where the
# decoder's pixels are the same.
PROGRAM = """
import { readFileSync, writeFileSync } from "node:fs";
globalThis.OffscreenCanvas = class {
  getContext() {
    return {
      fillRect() {},
      drawImage(source) { this.source = source; },
      getImageData() { return { data: this.source }; },
    };
  }
};
const { prepare } = await import(process.argv[2]);
for (const { file, width, height, ...description } of JSON.parse(process.argv[3])) {
  const pixels = new Uint8ClampedArray(readFileSync(file));
  writeFileSync(file, prepare(pixels, width, height, description));
}
"""


def photo(height, width):
    """Edges, noise and a gradient: what resizing has to get right."""
    rng = np.random.default_rng(height * width)
    y, x = np.mgrid[:height, :width]
    planes = [x * 255 / width, y * 255 / height, 127 + 120 * np.sin(x / 5 + y / 7)]
    image = np.stack(planes, -1) + rng.normal(0, 20, (height, width, 3))
    image[height // 3 : height // 2, width // 4 : width // 2] = 255
    return np.clip(image, 0, 255).astype("uint8")


def test_the_page_gives_the_network_the_pixels_of_python(tmp_path):
    node = shutil.which("node")
    if node is None:
        pytest.skip("picture.js is run by Node.js, which is not installed")
    shapes = [(48, 64), (301, 160), (97, 131), (40, 500), (700, 30), (28, 28)]
    cases = []
    for number, (height, width) in enumerate(shapes):
        for channels, size, crop, interpolation in (
            (3, 64, 0.875, "bicubic"),
            (3, 33, 0.9, "bilinear"),
            (1, 28, 1.0, "bicubic"),
        ):
            file = tmp_path / f"{number}.{size}"
            rgba = np.dstack([photo(height, width), np.full((height, width), 255)])
            file.write_bytes(rgba.astype("uint8").tobytes())
            cases.append(
                {
                    "file": str(file),
                    "width": width,
                    "height": height,
                    "size": size,
                    "channels": channels,
                    "crop_fraction": crop,
                    "interpolation": interpolation,
                }
            )
    (tmp_path / "run.mjs").write_text(PROGRAM)
    shutil.copy(PAGE / "picture.js", tmp_path / "picture.mjs")
    words = [node, "run.mjs", "./picture.mjs", json.dumps(cases)]
    subprocess.run(words, cwd=tmp_path, check=True, timeout=60)
    for case in cases:
        image = Image.fromarray(photo(case["height"], case["width"]))
        pixels = np.asarray(image.convert("L" if case["channels"] == 1 else "RGB"))
        record = Preprocessing(
            image_size=case["size"],
            crop_fraction=case["crop_fraction"],
            interpolation=case["interpolation"],
        )
        pixels = pixels.reshape(*pixels.shape[:2], case["channels"])
        expected = resize_and_crop(pixels, record).numpy()
        found = np.fromfile(case["file"], "float32").reshape(expected.shape)
        np.testing.assert_array_equal(found, expected, err_msg=str(case))
