"""The web page, in a real browser: what it shows is what Python computes."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import keras_senet
from keras_senet import cli
from keras_senet.data import open_source, read_image
from keras_senet.export import open_runner
from keras_senet.preprocessing import resize_and_crop

FOLDER = Path(__file__).parents[2] / "applications" / "web"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)
# One network takes grey pictures as they are, one resizes and crops in colour.
RECIPES = {
    "grey": "",
    "colour": "--channels 3 --image-size 32 --interpolation bicubic "
    "--crop-fraction 0.875",
}
IMAGES = 24
ENV = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}

# Fires once what the page found: {scores, gates}, or rejects with what it says.
LISTEN = """() => {
  window.found = new Promise((resolve, reject) => {
    const late = () => reject(document.getElementById("trouble").textContent || "late");
    setTimeout(late, 60000);
    document.addEventListener("classified", ({detail: {scores, gates}}) => resolve({
      scores: Array.from(scores),
      gates: Object.fromEntries(
        Object.entries(gates).map(([name, values]) => [name, Array.from(values)])),
    }), {once: true});
  });
}"""

# The values that the network got, RGBA.
SEEN = """() => {
  const canvas = document.getElementById("seen");
  const context = canvas.getContext("2d");
  return Array.from(context.getImageData(0, 0, canvas.width, canvas.height).data);
}"""

pytestmark = pytest.mark.slow


@dataclasses.dataclass
class Site:
    """A page that is served, its network, and how to prepare a picture for that."""

    url: str
    folder: Path
    model: keras.Model
    record: keras_senet.Preprocessing

    def prepare(self, path):
        pixels = read_image(path, channels=self.model.input_shape[-1])
        return np.asarray(resize_and_crop(pixels, self.record))[np.newaxis]

    def scores(self, path):
        return self.model.predict(self.prepare(path), verbose=0)[0]


def start(*words):
    """Starts a server and returns it with its address."""
    process = subprocess.Popen(
        [sys.executable, *map(str, words)],
        env=ENV,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if line.startswith("Serving "):
            return process, line.split()[1]
    raise AssertionError(process.communicate()[1])


def stop(process):
    process.terminate()
    process.communicate(timeout=60)


@pytest.fixture(scope="module", params=RECIPES)
def site(request, tmp_path_factory, pictures):
    folder = tmp_path_factory.mktemp(request.param)
    run = folder / "run"
    words = f"train --recipe quickstart --epochs 2 --limit 1500 --run-folder {run}"
    assert cli.main([*words.split(), *RECIPES[request.param].split()]) == 0
    page = folder / "page"
    words = [FOLDER / "main.py", run, "--output", page, "--serve", "--port", "0"]
    if request.param == "colour":
        words += ["--examples", pictures[0].parent, "--title", "In colour"]
    process, url = start(*words)
    runner = open_runner(folder / "run" / "model.keras")
    yield Site(url, page, runner.model, runner.preprocessing)
    stop(process)


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="a browser is driven by playwright"
    )
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"there is no browser: none of {', '.join(BROWSERS)}")
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def context(browser):
    """A fresh profile."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield context
    context.close()


@pytest.fixture
def page(site, context):
    """The page when it is ready; it may ask nobody but its server for anything."""
    page = open_page(context, site.url)
    yield page
    assert page.asked
    own = (site.url, f"blob:{site.url}")
    assert [url for url in page.asked if not url.startswith(own)] == []
    assert page.errors == []


def open_page(context, url):
    page = context.new_page()
    page.asked, page.errors = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(url)
    page.wait_for_selector("body[data-state=ready]", timeout=60000)
    return page


def find(page, act):
    """Does something and returns what the page then finds."""
    page.evaluate(LISTEN)
    act()
    return page.evaluate("window.found")


def classify(page, path):
    return find(page, lambda: page.set_input_files("#file", path))


def bundled(count):
    """Yields test images of every class, (28, 28) uint8."""
    dataset = keras_senet.data.batches(
        open_source("bundled"), "test", image_size=(28, 28), batch_size=count
    )
    images, _ = next(iter(dataset))
    return np.asarray(images)[..., 0].astype("uint8")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Real images as files: as they are, of odd sizes and in colour, turned."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, pixels in enumerate(bundled(IMAGES)):
        image = Image.fromarray(pixels)
        image.save(folder / f"{number:02}.png")
        tint = [image.point(lambda v, k=k: v * k // 4) for k in (4, 3, 2)]
        large = Image.merge("RGB", tint).resize((97 + number, 131 - 3 * number))
        large.save(folder / f"{number:02}-large.png")
    exif = Image.Exif()
    for orientation in (3, 6, 8):
        exif[0x0112] = orientation
        large.save(folder / f"turned-{orientation}.jpg", exif=exif, quality=95)
    data = os.environ.get("KERAS_SENET_DATA")
    if data:
        with np.load(Path(data) / "cifar10.npz") as loaded:
            for number, pixels in enumerate(loaded["x_test"][:IMAGES]):
                Image.fromarray(pixels).save(folder / f"cifar-{number:02}.png")
    return sorted(folder.iterdir())


def test_scores_are_pythons(site, page, pictures):
    assert len(pictures) >= 2 * IMAGES + 3
    labels = json.loads((site.folder / "model.json").read_text())["labels"]
    best = set()
    for path in pictures:
        expected = site.scores(path)
        found = np.asarray(classify(page, path)["scores"])
        assert np.argmax(found) == np.argmax(expected), path.name
        np.testing.assert_allclose(found, expected, atol=1e-3, err_msg=path.name)
        values = site.prepare(path)[0]
        seen = np.reshape(page.evaluate(SEEN), (*values.shape[:2], 4))
        seen = seen[..., : values.shape[2]]
        # Two decoders of JPEG may differ by a level or two.
        assert np.max(np.abs(seen - values)) <= (2 if path.suffix == ".jpg" else 0)
        order = np.argsort(-found, kind="stable")[:5]
        names = page.locator("#classes .name").all_inner_texts()
        assert names == [labels[i] for i in order]
        shares = page.locator("#classes .share").all_inner_texts()
        assert shares[0] == f"{100 * found[order[0]]:.1f} %"
        said = page.inner_text("#announcement")
        assert said == f"{names[0]}, {shares[0]}"
        best.add(names[0])
    assert len(best) > 2
    assert page.inner_text("#latency").endswith(" ms")


def test_strip_shows_the_gates_of_the_chosen_layer(site, page, pictures):
    found = classify(page, pictures[0])["gates"]
    layers = [
        layer
        for layer in site.model.layers
        if isinstance(layer, keras_senet.SqueezeExcite)
    ]
    assert set(found) == {layer.name for layer in layers}
    assert len(layers) == 9
    inputs = keras.Model(site.model.inputs, [layer.input for layer in layers])
    for layer, maps in zip(
        layers, inputs.predict(site.prepare(pictures[0]), verbose=0), strict=True
    ):
        gates = np.ravel(layer.excitation(maps))
        np.testing.assert_allclose(found[layer.name], gates, atol=1e-3)
        page.select_option("#layer", layer.name)
        cells = page.locator("#strip i")
        assert cells.count() == len(gates)
        shown = cells.evaluate_all(
            "cells => cells.map(cell => Number(cell.style.getPropertyValue('--gate')))"
        )
        np.testing.assert_allclose(shown, gates, atol=1e-3)
        assert f"{len(gates)} gates" in page.inner_text("#summary")


@pytest.mark.parametrize("kind", ["text", "cut", "empty"])
def test_what_is_no_picture_is_said_in_one_line(page, pictures, tmp_path, kind):
    classify(page, pictures[1])
    before = page.locator("#classes .name").all_inner_texts()
    whole = pictures[0].read_bytes()
    content = {"text": b"no picture", "cut": whole[:60], "empty": b""}
    path = tmp_path / "bad.png"
    path.write_bytes(content[kind])
    page.set_input_files("#file", path)
    page.wait_for_selector("#trouble:not(:empty)")
    trouble = page.inner_text("#trouble")
    assert trouble.startswith("“bad.png” is not a picture that this browser can read.")
    assert "\n" not in trouble
    assert page.locator("#classes .name").all_inner_texts() == before
    classify(page, pictures[0])
    assert page.inner_text("#trouble") == ""


def test_keyboard_is_enough(site, page):
    description = json.loads((site.folder / "model.json").read_text())
    reached = []
    while reached[-1:] != ["layer"] and len(reached) < 100:
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
        ring = page.evaluate(
            """() => {
              const active = document.activeElement;
              return getComputedStyle(active.closest(".stage") ?? active).outlineStyle;
            }"""
        )
        assert ring == "solid", reached
        if len(reached) == 3:  # the first example
            find(page, lambda: page.keyboard.press("Enter"))
            shown = page.get_attribute("#picture", "aria-label")
            assert shown == description["examples"][0]["name"]
    examples = len(description["examples"])
    assert reached == ["file", "camera", *[""] * examples, "layer"]
    counts = [page.locator("#strip i").count()]
    for _ in range(3):
        page.keyboard.press("ArrowDown")
        counts.append(page.locator("#strip i").count())
    assert counts == [16, 16, 16, 32]
    with page.expect_file_chooser():
        page.focus("#file")
        page.keyboard.press("Enter")


def test_pictures_can_be_dropped_and_pasted(site, page, pictures):
    expected = site.scores(pictures[0])
    for event, holder in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        dispatch = """([bytes, event, holder]) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], "a.png"));
          document.body.dispatchEvent(event === "drop"
            ? new DragEvent(event, {[holder]: data, bubbles: true, cancelable: true})
            : new ClipboardEvent(event, {[holder]: data, bubbles: true}));
        }"""
        words = [list(pictures[0].read_bytes()), event, holder]
        found = find(page, lambda d=dispatch, w=words: page.evaluate(d, w))
        np.testing.assert_allclose(found["scores"], expected, atol=1e-3)


def test_camera_runs_until_it_is_stopped(page):
    page.click("#camera")
    page.wait_for_selector("#camera[aria-pressed=true]")
    page.wait_for_selector("#answer.filled")
    page.wait_for_selector("#announcement:not(:empty)", state="attached")
    assert page.get_attribute("#picture", "aria-label") == "The camera"
    page.click("#camera")
    page.wait_for_selector("#camera[aria-pressed=false]")
    assert page.inner_text("#trouble") == ""


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_every_screen(page, pictures, width, scheme):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    classify(page, pictures[-1])
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    sizes = page.locator("button:visible, select, .button").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect().height)"
    )
    assert min(sizes) >= 40
    paper, ink = page.evaluate(
        "[getComputedStyle(document.body).backgroundColor,"
        " getComputedStyle(document.body).color]"
    )
    assert (brightness(paper) > brightness(ink)) == (scheme == "light")


def brightness(color):
    return sum(map(float, color.removeprefix("rgb(").rstrip(")").split(",")))


def test_any_server_will_do(site, context, pictures):
    """Without the headers of threads the page does without threads."""
    words = [sys.executable, "-um", "http.server", "--bind", "127.0.0.1", "0"]
    server = subprocess.Popen(
        [*words, "--directory", site.folder], stdout=subprocess.PIPE, text=True
    )
    try:
        url = server.stdout.readline().partition("(")[2].partition(")")[0]
        page = open_page(context, url)
        assert page.evaluate("crossOriginIsolated") is False
        assert not any("threaded" in asked for asked in page.asked)
        found = classify(page, pictures[0])["scores"]
        np.testing.assert_allclose(found, site.scores(pictures[0]), atol=1e-3)
    finally:
        stop(server)


def test_threads_where_they_are_worth_it(site, context, pictures):
    description = json.loads((site.folder / "model.json").read_text())
    assert description["threads"] is False  # 41 million multiply-adds are few
    text = json.dumps({**description, "threads": True})
    context.route("**/model.json", lambda route: route.fulfill(body=text))
    page = open_page(context, site.url)
    assert any("litert_wasm_threaded" in asked for asked in page.asked)
    found = classify(page, pictures[0])["scores"]
    np.testing.assert_allclose(found, site.scores(pictures[0]), atol=1e-3)
