"""The page's modules in Node.js: `camera.js`, and `picture.js` beside our cropping."""

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
PREPARE = """
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

# A button, a camera of which `open` says what it gives, and what the page is told.
CAMERA = """
const { Camera } = await import(process.argv[2]);
const soon = () => new Promise(setImmediate);
globalThis.requestAnimationFrame = setImmediate;
const video = { play: async () => {} };
globalThis.document = { createElement: () => video };
const page = {};
Object.defineProperty(globalThis, "navigator", { value: page });
const log = [];
const button = { disabled: true, setAttribute: (name, on) => (button.pressed = on) };
button.addEventListener = (event, listener) => (button[event] = listener);
let frames = 0, broken = false;
const camera = new Camera(button, {
  frame: async () => {
    if (broken) throw new Error("lost");
    return ++frames;
  },
  calm: (found) => log.push(found),
  trouble: (text) => text && log.push(text),
});
const state = () => log.push(`${button.textContent}, ${button.pressed}`);
camera.enable();
button.click();
page.mediaDevices = { getUserMedia: async () => { throw new Error("denied"); } };
button.click();
await soon();
const track = { stop: () => log.push("stopped") };
const stream = { getTracks: () => [track] };
page.mediaDevices = { getUserMedia: async () => stream };
button.click();
while (frames < 3) await soon();
state();
button.click();
for (const _ of Array(9)) await soon();
const last = frames;
state();
for (const _ of Array(9)) await soon();
log.push(frames === last);
broken = true;
button.click();
for (const _ of Array(9)) await soon();
state();
console.log(JSON.stringify([...log, button.disabled]));
"""


def run_in_node(folder, program, module, *words):
    """Runs a program with a module of the page, and returns what it prints."""
    node = shutil.which("node")
    if node is None:
        pytest.skip(f"{module}.js is run by Node.js, which is not installed")
    (folder / "run.mjs").write_text(program)
    shutil.copy(PAGE / f"{module}.js", folder / f"{module}.mjs")
    command = [node, "run.mjs", f"./{module}.mjs", *words]
    return subprocess.run(
        command, cwd=folder, check=True, timeout=60, stdout=subprocess.PIPE
    ).stdout


def test_the_camera_runs_until_it_is_stopped_or_breaks(tmp_path):
    assert json.loads(run_in_node(tmp_path, CAMERA, "camera")) == [
        "The camera needs an https page or localhost.",
        "There is no camera to use: denied",
        1,  # the first frame is announced, and no other one within two seconds
        "Stop camera, true",
        "stopped",
        "Use camera, false",
        True,  # no frame after that
        "stopped",
        "The camera was stopped: lost",
        "Use camera, false",
        False,  # the button can be used again
    ]


def photo(height, width):
    """Edges, noise and a gradient: what resizing has to get right."""
    rng = np.random.default_rng(height * width)
    y, x = np.mgrid[:height, :width]
    planes = [x * 255 / width, y * 255 / height, 127 + 120 * np.sin(x / 5 + y / 7)]
    image = np.stack(planes, -1) + rng.normal(0, 20, (height, width, 3))
    image[height // 3 : height // 2, width // 4 : width // 2] = 255
    return np.clip(image, 0, 255).astype("uint8")


def test_the_page_gives_the_network_the_pixels_of_python(tmp_path):
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
    run_in_node(tmp_path, PREPARE, "picture", json.dumps(cases))
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
