"""The published checkpoints, and finding one by its name.

Sources of the numbers: timm's results tables (`results-imagenet.csv`) and model
configurations; the README of image-classifiers; keras.io/api/applications.
"""

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

from keras_senet.card import Card, Preprocessing
from keras_senet.utils.errors import nearest
from keras_senet.utils.networks import check_network
from keras_senet.weights.presets import Accuracy, File, Host, Preset
from keras_senet.weights.shipped import shipped_presets

_HUB = "https://huggingface.co/timm/{}/resolve/main/model.safetensors"
_TIMM = "https://github.com/rwightman/pytorch-image-models/releases/download/"
_GLUON = (
    "https://github.com/rwightman/pytorch-pretrained-gluonresnet/releases/download/v0.1"
)
_QUBVEL = (
    "https://github.com/qubvel/classification_models/releases/download/0.0.1/{}.h5"
)

_DEEP = {"stem": "deep", "shortcut": "avg"}
_DEPTH_26 = {"blocks": [2, 2, 2, 2]}
_DEPTH_101 = {"blocks": [3, 4, 23, 3]}

# A row says what the constructor leaves open and does not have by default.
#
# Our name, timm's, folder, .pth with the first digits of its SHA-256, row,
# then (image size, crop fraction, top-1, top-5) as trained and at a larger test image.
_MODERN = (
    ("se_resnet50.ra2_in1k", "seresnet50.ra2_in1k", "v0.1-weights",
     "seresnet50_ra_224-8efdb4bb", {},
     (224, 0.875, 80.260, 95.068), (288, 0.95, 81.288, 95.652)),
    ("se_resnet50.a1_in1k", "seresnet50.a1_in1k", "v0.1-rsb-weights",
     "seresnet50_a1_0-ffa00869", {},
     (224, 0.95, 80.012, 94.704), (288, 1.0, 81.114, 95.122)),
    ("se_resnet50.a2_in1k", "seresnet50.a2_in1k", "v0.1-rsb-weights",
     "seresnet50_a2_0-850de0d9", {},
     (224, 0.95, 80.102, 94.720), (288, 1.0, 81.094, None)),
    ("se_resnet50.a3_in1k", "seresnet50.a3_in1k", "v0.1-rsb-weights",
     "seresnet50_a3_0-317ecd56", {},
     (160, 0.95, 75.104, None), (224, 0.95, 77.036, None)),
    ("se_resnet152d.ra2_in1k", "seresnet152d.ra2_in1k", "v0.1-weights",
     "seresnet152d_ra2-04464dd2", {"blocks": [3, 8, 36, 3], **_DEEP},
     (256, 0.95, 83.702, None), (320, 1.0, 84.344, None)),
    ("se_resnext26d.bt_in1k", "seresnext26d_32x4d.bt_in1k", "v0.1-weights",
     "seresnext26d_32x4d-80fa48a3", {**_DEPTH_26, **_DEEP},
     (224, 0.875, 77.592, None), (288, 0.95, 78.816, None)),
    ("se_resnext50.racm_in1k", "seresnext50_32x4d.racm_in1k", "v0.1-weights",
     "seresnext50_32x4d_racm-a304a460", {},
     (224, 0.875, 81.268, 95.624), (288, 0.95, 82.186, None)),
    ("se_resnext50.gluon_in1k", "seresnext50_32x4d.gluon_in1k", "gluon",
     "gluon_seresnext50_32x4d-90cf2d6e", {},
     (224, 0.875, 79.916, 94.816), None),
    ("se_resnext101.gluon_in1k", "seresnext101_32x4d.gluon_in1k", "gluon",
     "gluon_seresnext101_32x4d-cf52900d", {},
     (224, 0.875, 80.886, 95.268), None),
    ("se_resnext101_64x4d.gluon_in1k", "seresnext101_64x4d.gluon_in1k", "gluon",
     "gluon_seresnext101_64x4d-f9926f93", {**_DEPTH_101, "cardinality": 64},
     (224, 0.875, 80.884, 95.308), None),
    ("se_resnext101_32x8d.ah_in1k", "seresnext101_32x8d.ah_in1k", "v0.1-tpu-weights",
     "seresnext101_32x8d_ah-e6bc4c0a", {**_DEPTH_101, "width": 8},
     (224, 0.95, 83.618, 96.412), (288, 1.0, 84.192, None)),
    ("senet154.gluon_in1k", "senet154.gluon_in1k", "gluon",
     "gluon_senet154-70a1a3c0", {},
     (224, 0.875, 81.258, 95.358), None),
)  # fmt: skip

_BRANCH_RELU = {"branch_relu": True}
_ON_1X1 = {"stride_on": "1x1"}

# Our name, timm's, folder, .pth, row, interpolation, (top-1, top-5). "caffe" are the
# authors' released weights; the others timm trained in the same network code.
_LEGACY = (
    ("se_resnet18.legacy_in1k", "legacy_seresnet18.in1k", "v0.1-weights",
     "seresnet18-4bb0ce65", _BRANCH_RELU,
     "bicubic", (71.742, 90.340)),
    ("se_resnet34.legacy_in1k", "legacy_seresnet34.in1k", "v0.1-weights",
     "seresnet34-a4004e63", _BRANCH_RELU,
     "bilinear", (74.788, 92.134)),
    ("se_resnet50.caffe_in1k", "legacy_seresnet50.in1k", "v0.1-cadene",
     "se_resnet50-ce0d4300", _ON_1X1, "bilinear", (77.650, 93.732)),
    ("se_resnet101.caffe_in1k", "legacy_seresnet101.in1k", "v0.1-cadene",
     "se_resnet101-7e38fcc6", _ON_1X1,
     "bilinear", (78.370, 94.264)),
    ("se_resnet152.caffe_in1k", "legacy_seresnet152.in1k", "v0.1-cadene",
     "se_resnet152-d17c99b7", _ON_1X1,
     "bilinear", (78.662, 94.370)),
    ("se_resnext26.legacy_in1k", "legacy_seresnext26_32x4d.in1k", "v0.1-weights",
     "seresnext26_32x4d-65ebdb501", _DEPTH_26, "bicubic", (77.100, 93.332)),
    ("se_resnext50.caffe_in1k", "legacy_seresnext50_32x4d.in1k", "v0.1-weights",
     "legacy_se_resnext50_32x4d-f3651bad", {}, "bilinear", (79.080, 94.428)),
    ("se_resnext101.caffe_in1k", "legacy_seresnext101_32x4d.in1k", "v0.1-weights",
     "legacy_se_resnext101_32x4d-37725eac", {}, "bilinear", (80.274, 95.032)),
    ("senet154.caffe_in1k", "legacy_senet154.in1k", "v0.1-weights",
     "legacy_senet154-e9eb9fe6", {}, "bilinear", (81.320, 95.502)),
)  # fmt: skip

# Constructor, file, MD5 with and without the top, row, (top-1, top-5).
_KERAS = (
    ("se_resnet50", "seresnet50", "ff0ce1ed5accaad05d113ecef2d29149",
     "043777781b0d5ca756474d60bf115ef1", _ON_1X1, (76.44, 93.02)),
    ("se_resnet101", "seresnet101", "5c31adee48c82a66a32dee3d442f5be8",
     "1c373b0c196918713da86951d1239007", _ON_1X1,
     (77.92, 94.00)),
    ("se_resnet152", "seresnet152", "96fc14e3a939d4627b0174a0e80c7371",
     "f58d4c1a511c7445ab9a2c2b83ee4e7b", _ON_1X1,
     (78.34, 94.08)),
    ("se_resnext50", "seresnext50", "5310dcd58ed573aecdab99f8df1121d5",
     "b0f23d2e1cd406d67335fb92d85cc279", {}, (78.74, 94.30)),
    ("se_resnext101", "seresnext101", "be5b26b697a0f7f11efaa1bb6272fc84",
     "e48708cbe40071cc3356016c37f6c9c7", {}, (79.88, 94.87)),
    ("senet154", "senet154", "c8eac0e1940ea4d8a2e0b2eb0cdf4e75",
     "d854ff2cd7e6a87b05a8124cd283e0f2", {}, (81.06, 95.24)),
    ("se_resnet18", "seresnet18", "9a925fd96d050dbf7cc4c54aabfcf749",
     "a46e5cd4114ac946ecdc58741e8d92ea", None, (69.41, 88.84)),
    ("se_resnet34", "seresnet34", "863976b3bd439ff0cc05c91821218a6b",
     "3348fd049f1f9ad307c070ff2b6ec4cb", None, (72.60, 90.91)),
)  # fmt: skip

# Constructors of the presets that need the generic one of their family.
_GENERIC = {
    "se_resnet152d": "se_resnet",
    "se_resnext26": "se_resnext",
    "se_resnext26d": "se_resnext",
    "se_resnext101_64x4d": "se_resnext",
    "se_resnext101_32x8d": "se_resnext",
}


def _accuracy(test, source="timm"):
    if test is None:
        return None
    size, crop, top1, top5 = test
    return Accuracy(
        top1=top1, top5=top5, image_size=size, crop_fraction=crop, source=source
    )


def _card(name, row, licence="Apache-2.0", classes=1000, **record):
    model = name.partition(".")[0]
    return Card(
        constructor=_GENERIC.get(model, model),
        architecture=row,
        licence=licence,
        include_top=classes is not None,
        classes=classes,
        preprocessing=Preprocessing(**record),
        normalises=False,
    )


def _pth(url):
    name = url.rpartition("/")[2]
    digits = name.rpartition("-")[2].removesuffix(".pth")
    return File(url=url, sha256=digits, name=name)


def _timm(name, timm, card, *pths, on_hub=True, **fields):
    hub = File(url=_HUB.format(timm), name=f"{name}.safetensors")
    return Preset(
        name=name,
        card=card,
        files=(*([hub] if on_hub else []), *map(_pth, pths)),
        source="timm",
        aliases=tuple(alias for alias in (timm, f"timm/{timm}") if alias != name),
        **fields,
    )


def _modern(name, timm, folder, pth, row, trained, tested):
    size, crop, *_ = trained
    return _timm(
        name,
        timm,
        _card(name, {"divisor": 8, **row}, image_size=size, crop_fraction=crop),
        f"{_GLUON if folder == 'gluon' else _TIMM + folder}/{pth}.pth",
        layout="timm_modern",
        accuracy=_accuracy(trained),
        test_accuracy=_accuracy(tested),
    )


def _legacy(name, timm, folder, pth, row, interpolation, published):
    return _timm(
        name,
        timm,
        _card(name, {"stem_pool": "ceil", **row}, interpolation=interpolation),
        f"{_TIMM}{folder}/{pth}.pth",
        on_hub=False,
        layout="timm_legacy",
        accuracy=_accuracy((224, 0.875, *published)),
    )


def _keras(constructor, stem, md5, md5_no_top, row, published):
    refused = (
        "image-classifiers' SE-ResNet-18 and 34 are another, pre-activation network "
        "with raw 0..255 input. Use 'legacy_in1k'."
    )
    known = {} if row is None else {"stem_pool": "ceil", **row}
    tested = (224, 0.875, *published)
    for suffix, digest, classes in (("", md5, 1000), ("_no_top", md5_no_top, None)):
        file = f"{stem}_imagenet_1000{suffix}"
        yield Preset(
            name=f"{constructor}.keras_in1k{suffix}",
            card=_card(constructor, known, "MIT", classes, interpolation="bilinear"),
            files=(File(url=_QUBVEL.format(file), md5=digest, name=f"{file}.h5"),),
            layout="image_classifiers",
            accuracy=_accuracy(tested, "image-classifiers") if classes else None,
            source="image-classifiers",
            aliases=(file,),
            refusal=refused if row is None else "",
        )


# timm's other networks: constructor and row, by the name before the dot.
_D101 = {**_DEPTH_101, **_DEEP, "width": 8, "divisor": 8}
_OTHERS = {
    "seresnext26t_32x4d": ("se_resnext",
        {**_DEPTH_26, **_DEEP, "divisor": 8, "stem_filters": [24, 32, 64]}),
    "seresnext101d_32x8d": ("se_resnext", _D101),
    "seresnextaa101d_32x8d": ("se_resnext", {**_D101, "anti_alias": True}),
    "seresnextaa201d_32x8d": ("se_resnext",
        {**_D101, "blocks": [3, 24, 36, 4], "stem_filters": [64, 64, 128],
         "anti_alias": True}),
    "regnety_008_tv": ("regnety",
        {"blocks": [1, 3, 8, 2], "filters": [64, 144, 320, 784], "group_width": 16}),
    "regnety_080_tv": ("regnety",
        {"blocks": [2, 4, 10, 1], "filters": [224, 448, 896, 2016], "group_width": 56}),
    "regnety_2560": ("regnety",
        {"blocks": [2, 7, 17, 1], "filters": [746, 1492, 4103, 10444],
         "group_width": 373}),
}  # fmt: skip
NOT_COMMERCIAL = frozenset({"CC-BY-NC-4.0", "SEER"})


def _records(name):
    return json.loads((Path(__file__).parent / name).read_text(encoding="utf-8"))


def _hub(timm, licence, classes, size, crop, trained, tested, pth):
    """A record of timm_hub.json: a network whose name is timm's."""
    model = timm.partition(".")[0]
    constructor, row = _OTHERS.get(model, (model, {}))
    refused = ""
    if model.endswith("ts"):
        refused = "its SiLU stem and units (timm's byobnet) are not built here."
        constructor = "se_resnext"
    record = {"image_size": size, "crop_fraction": crop}
    return _timm(
        timm.replace("seresnext", "se_resnext"),
        timm,
        _card(constructor, row, licence, classes or None, **record),
        *([pth] if pth else []),
        layout="regnet" if model.startswith("regnet") else "timm_modern",
        accuracy=_accuracy((size, crop, *trained)) if trained else None,
        test_accuracy=_accuracy(tested),
        refusal=refused,
    )


def _dropped(url, digest):
    """A record of keras_dropped.json: the files of networks that Keras 3 dropped."""
    file = url.rpartition("/")[2]
    stem, _, ending = file.removesuffix(".h5").partition("_")
    if stem.startswith("regnety"):
        constructor, layout = f"regnety_{stem.removeprefix('regnety')}", "regnet"
        tag, row = "keras_in1k", {"padding": "same"}
        record = {"image_size": 224, "mean": (0.0,) * 3, "std": (1.0,) * 3}
    else:
        depth, size = map(int, stem.removeprefix("resnet-rs-").split("-i"))
        constructor, layout = f"resnetrs{depth}", "resnet_rs"
        tag, row, record = f"keras_i{size}", {}, {"image_size": size}
    kind = "md5" if len(digest) == 32 else "sha256"
    return Preset(
        name=f"{constructor}.{tag}{'_no_top' if ending else ''}",
        card=_card(constructor, row, classes=None if ending else 1000, **record),
        files=(File(url=url, name=file, **{kind: digest}),),
        layout=layout,
        source="tf.keras",
    )


# Parameters and multiply-adds; scripts/make_accuracy_page.py counts them.
_COSTS = _records("costs.json")


def _counted(preset):
    parameters, products = _COSTS.get(preset.name, (0, 0))
    return dataclasses.replace(preset, parameters=parameters, multiply_adds=products)


PRESETS: dict[str, Preset] = {
    preset.name: _counted(preset)
    for preset in (
        *(_modern(*row) for row in _MODERN),
        *(_legacy(*row) for row in _LEGACY),
        *(preset for row in _KERAS for preset in _keras(*row)),
        *(_hub(*row) for row in _records("timm_hub.json")),
        *(_dropped(*row) for row in _records("keras_dropped.json")),
        *shipped_presets(),
    )
}

# The best published one that is read without torch, else the best. The authors' own
# SENet-154 is 0.06 better than Gluon's but exists for torch only.
IMAGENET = {
    "se_resnet18": "legacy_in1k",
    "se_resnet34": "legacy_in1k",
    "se_resnet50": "ra2_in1k",
    "se_resnet101": "keras_in1k",
    "se_resnet152": "keras_in1k",
    "se_resnext50": "racm_in1k",
    "se_resnext101": "gluon_in1k",
    "senet154": "gluon_in1k",
}
# Of the others it is the most accurate one whose licence allows every use.
for _preset in sorted(
    (p for p in PRESETS.values() if p.accuracy and p.card.classes == 1000),
    key=lambda preset: preset.accuracy.top1,
):
    if _preset.card.constructor.startswith(("regnety_", "resnetrs")) and (
        _preset.card.licence not in NOT_COMMERCIAL
    ):
        IMAGENET[_preset.card.constructor] = _preset.tag

UNIT = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
# keras.applications' "caffe" mode: blue first, means subtracted, no scaling.
CAFFE_MODE = {
    "mean": (103.939 / 255, 116.779 / 255, 123.68 / 255),
    "std": (1 / 255, 1 / 255, 1 / 255),
    "channel_order": "BGR",
}


_CC_BY = "CC-BY-4.0"


def _host(constructor, application, top1, top5, record, licence="Apache-2.0", **row):
    """The checkpoint leaves SE as it starts, at the exact identity."""
    card = Card(
        constructor=constructor,
        architecture={"se": True, "identity_start": True, **row},
        include_top=True,
        classes=1000,
        preprocessing=Preprocessing(**record),
        normalises=False,
        preset=f"{constructor}.imagenet_host",
        licence=licence,
    )
    return Host(card=card, application=application, top1=top1, top5=top5)


_LARGE = {**UNIT, "image_size": 299}

HOSTS: dict[str, Host] = {
    host.card.constructor: host
    for host in (
        _host("se_inception_v3", "InceptionV3", 77.9, 93.7, _LARGE),
        _host("se_inception_resnet_v2", "InceptionResNetV2", 80.3, 95.3, _LARGE),
        _host("se_mobilenet", "MobileNet", 70.4, 89.5, UNIT),
        _host("se_vgg16", "VGG16", 71.3, 90.1, CAFFE_MODE, _CC_BY, batch_norm=False),
    )
}


def list_weights(constructor: str | None = None) -> list[str]:
    """Returns the names of the published checkpoints that can be loaded.

    Args:
        constructor: A name of `keras_senet.list_models()`, or None for all.

    Raises:
        ValueError: If there is no such network.

    Example:

    >>> "se_resnet20.cifar10" in keras_senet.list_weights("se_resnet20")
    True
    """
    if constructor is not None:
        check_network(constructor)
    return [
        name
        for name, preset in PRESETS.items()
        if not preset.refusal and constructor in (None, preset.card.constructor)
    ]


def by_accuracy(presets: Iterable[Preset]) -> list[Preset]:
    """Sorts presets: ImageNet's first, then the most accurate; untold ones last."""

    def key(preset):
        if preset.accuracy is None:
            return 2, 0.0
        return "ImageNet" not in preset.accuracy.images, -preset.accuracy.top1

    return sorted(presets, key=key)


def default_weights(constructor: str) -> str | None:
    """Returns the default of `weights`: "imagenet" if such weights exist, else None.

    Args:
        constructor: A name of `keras_senet.list_models()`.

    Raises:
        ValueError: If there is no such network.

    Example:

    >>> keras_senet.weights.default_weights("se_resnet50")
    'imagenet'
    """
    check_network(constructor)
    return "imagenet" if constructor in IMAGENET else None


def find_preset(weights: str, constructor: str | None = None) -> Preset | None:
    """Returns the preset with a name, alias or tag, or None for no such preset.

    Args:
        weights: "imagenet", a tag ("ra2_in1k"), a name ("se_resnet50.ra2_in1k") or an
            alias ("timm/seresnet50.ra2_in1k").
        constructor: The network for a tag; None finds only names and aliases.

    Example:

    >>> keras_senet.weights.find_preset("cifar10", "se_resnet20").name
    'se_resnet20.cifar10'
    """
    name = str(weights)
    tag = IMAGENET.get(constructor) if name == "imagenet" else name
    found = PRESETS.get(f"{constructor}.{tag}") or PRESETS.get(name)
    return found or next((p for p in PRESETS.values() if name in p.aliases), None)


def unknown_weights(weights: str, constructor: str | None) -> str:
    """Returns the message for weights that are no preset and no file."""
    tags, known = [], "keras_senet.list_weights() names them"
    if constructor is not None:
        tags = [PRESETS[name].tag for name in list_weights(constructor)]
        tags = ["imagenet"] * (constructor in IMAGENET) + tags
        tags += ["imagenet_host"] * (constructor in HOSTS)
        known = f"{constructor} has {', '.join(map(repr, tags)) or 'no presets yet'}"
    everything = [*tags, *PRESETS, *(a for p in PRESETS.values() for a in p.aliases)]
    if weights == "imagenet" and constructor in HOSTS:
        return (
            f"There are no published weights of {constructor} with SE. Received: "
            "weights='imagenet'. weights='imagenet_host' starts from "
            f"keras.applications.{HOSTS[constructor].application} with SE at the "
            "identity."
        )
    return (
        f"`weights` must be None, a preset ({known}), the path of an existing file or "
        "a model on the Hugging Face hub, 'hf://user/model'. "
        f"Received: weights={weights!r}.{nearest(weights, everything)}"
    )
