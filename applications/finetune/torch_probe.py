"""Times a linear probe with timm and torch: `clock.py` runs it in their environment.

python torch_probe.py FOLDER BATCH THREADS
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

EPOCHS = 100


def main(folder: str, batch: str, threads: str) -> None:
    """Prints the seconds of the features and of the classifier as JSON."""
    torch.manual_seed(0)
    torch.set_num_threads(int(threads))
    network = _timm().create_model("seresnet50", pretrained=False, num_classes=0)
    paths = sorted(Path(folder).glob("*/*.jpg"))
    names = sorted({path.parent.name for path in paths})
    labels = torch.tensor([names.index(path.parent.name) for path in paths])
    network.eval()
    begin = time.perf_counter()
    features = []
    with torch.inference_mode():
        for first in range(0, len(paths), int(batch)):
            part = [_image(path) for path in paths[first : first + int(batch)]]
            features.append(network(torch.stack(part)))
    features = torch.cat(features).clone()
    middle = time.perf_counter()
    classifier = torch.nn.Linear(features.shape[1], len(names))
    optimizer = torch.optim.AdamW(classifier.parameters(), 1e-2)
    for _ in range(EPOCHS):
        for places in torch.randperm(len(labels)).split(256):
            optimizer.zero_grad()
            scores = classifier(features[places])
            torch.nn.functional.cross_entropy(scores, labels[places]).backward()
            optimizer.step()
    end = time.perf_counter()
    found = {"timm_features": middle - begin, "timm_classifier": end - middle}
    print(json.dumps(found))


def _image(path):
    pixels = np.asarray(Image.open(path).convert("RGB"), np.float32)
    return torch.from_numpy(pixels).movedim(-1, 0) / 127.5 - 1


def _timm():
    try:
        import timm
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        # It imports torchvision, which without its binary lacks these operators.
        global library  # An operator lives as long as the library that declared it.
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            arguments = "Tensor dets, Tensor scores, float iou_threshold"
            library.define(f"{name}({arguments}) -> Tensor")
        import timm
    return timm


if __name__ == "__main__":
    main(*sys.argv[1:])
