import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo


@pytest.fixture
def picture():
    """Makes an RGB picture: smooth, no symmetry, a colour of its own by `hue`."""

    def make(height=24, width=36, hue=0):
        y, x = np.mgrid[0:height, 0:width]
        planes = [x / width, y / height, np.full_like(x, hue % 7) / 7]
        return (np.stack(planes, -1) * 255).astype(np.uint8)

    return make


@pytest.fixture
def folder(tmp_path, picture):
    """Makes ROOT/CLASS/N.jpg from {class: count}; classes may be paths."""

    def make(counts, root="photos", suffix=".jpg"):
        for number, (name, count) in enumerate(counts.items()):
            parent = tmp_path / root / name
            parent.mkdir(parents=True, exist_ok=True)
            for index in range(count):
                image = Image.fromarray(picture(hue=number * 3 + index))
                # Each file has other bytes, as photographs have.
                text = PngInfo()
                text.add_text("comment", f"{name}/{index}")
                comment = {"comment": f"{name}/{index}", "pnginfo": text}
                image.save(parent / f"{index}{suffix}", **comment)
        return tmp_path / root

    return make
