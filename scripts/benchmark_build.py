"""How long the networks take to build, beside those of keras.applications.

    python scripts/benchmark_build.py [--repeats 3]

Each network is built without weights in one process, in turn with its nearest
neighbour; the medians are printed, and last the whole zoo against its neighbours.
"""

import argparse
import statistics
import time

import keras

import keras_senet
from keras_senet.models import CONSTRUCTORS

NEIGHBOURS = {
    "se_resnet50": "ResNet50",
    "se_resnet101": "ResNet101",
    "se_resnet152": "ResNet152",
    "se_inception_v3": "InceptionV3",
    "se_inception_resnet_v2": "InceptionResNetV2",
    "se_vgg16": "VGG16",
    "se_mobilenet": "MobileNet",
}


def seconds(build) -> float:
    keras.utils.clear_session(free_memory=True)
    start = time.perf_counter()
    build(weights=None)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    sums = {"ours": 0.0, "theirs": 0.0, "zoo": 0.0}
    print(f"{'network':24}{'seconds':>9}{'plain':>9}{'keras.applications':>20}")
    for name in keras_senet.list_models():
        ours, plain, theirs = [], [], []
        neighbour = getattr(keras.applications, NEIGHBOURS.get(name, ""), None)
        for _ in range(repeats):
            ours.append(seconds(CONSTRUCTORS[name]))
            plain.append(seconds(lambda n=name, **k: CONSTRUCTORS[n](se=False, **k)))
            if neighbour:
                theirs.append(seconds(neighbour))
        row = f"{name:24}{statistics.median(ours):9.2f}{statistics.median(plain):9.2f}"
        sums["zoo"] += statistics.median(ours)
        if neighbour:
            sums["ours"] += statistics.median(plain)
            sums["theirs"] += statistics.median(theirs)
            row += f"{statistics.median(theirs):20.2f}"
        print(row, flush=True)
    print(
        f"the whole zoo: {sums['zoo']:.1f} s; the {len(NEIGHBOURS)} plain hosts: "
        f"{sums['ours']:.1f} s, keras.applications: {sums['theirs']:.1f} s, "
        f"ratio {sums['ours'] / sums['theirs']:.2f}"
    )


if __name__ == "__main__":
    main()
