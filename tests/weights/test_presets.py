"""The records: complete, unique, consistent, and found by every name."""

import re
import sys

import pytest

import keras_senet
from keras_senet import Preprocessing
from keras_senet.card import Card
from keras_senet.models import (
    CONSTRUCTORS,
    architecture_options,
    constructor_of,
    network_of,
    stages_of,
)
from keras_senet.utils.networks import known_networks
from keras_senet.weights import default_weights, find_host, find_preset, list_weights
from keras_senet.weights.catalogue import HOSTS, IMAGENET, NOT_COMMERCIAL, PRESETS
from keras_senet.weights.layouts import LAYOUTS
from keras_senet.weights.opening import check_preset, open_checkpoint

ALL = list(PRESETS.values())
PUBLIC = [preset for preset in ALL if preset.source != "keras_senet"]
LOADABLE = [preset for preset in ALL if not preset.refusal]
# timm's names in the list of public checkpoints.
TIMM = (
    "seresnet50.ra2_in1k",
    "seresnet50.a1_in1k",
    "seresnet50.a2_in1k",
    "seresnet50.a3_in1k",
    "seresnet152d.ra2_in1k",
    "seresnext50_32x4d.racm_in1k",
    "seresnext50_32x4d.gluon_in1k",
    "seresnext101_32x4d.gluon_in1k",
    "seresnext101_64x4d.gluon_in1k",
    "senet154.gluon_in1k",
    "seresnext101_32x8d.ah_in1k",
    "seresnext26d_32x4d.bt_in1k",
    "legacy_seresnet18.in1k",
    "legacy_seresnet34.in1k",
    "legacy_seresnet50.in1k",
    "legacy_seresnet101.in1k",
    "legacy_seresnet152.in1k",
    "legacy_seresnext26_32x4d.in1k",
    "legacy_seresnext50_32x4d.in1k",
    "legacy_seresnext101_32x4d.in1k",
    "legacy_senet154.in1k",
)


def test_every_public_checkpoint_has_a_record():
    timm = {p.aliases[-1].removeprefix("timm/") for p in ALL if p.source == "timm"}
    assert set(TIMM) < timm
    assert len(timm) == 80
    for model in ("50", "101", "152"):
        for suffix in ("", "_no_top"):
            assert f"se_resnet{model}.keras_in1k{suffix}" in PRESETS
    dropped = [p for p in PUBLIC if p.source == "tf.keras"]
    assert [len(dropped), len(PUBLIC)] == [46, 80 + 16 + 46]
    assert all(p.files[0].md5 or p.files[0].sha256 for p in dropped)
    assert PRESETS["regnety_120.sw_in12k"].card.classes == 11821
    assert PRESETS["regnety_1280.swag_ft_in1k"].accuracy.top1 == 88.228


def test_names_are_unique():
    names = [name for p in ALL for name in (p.name, *p.aliases)]
    assert len(set(names)) == len(names)
    files = [file.name for p in ALL for file in p.files]
    assert len(set(files)) == len(files)


@pytest.mark.parametrize("preset", PUBLIC, ids=lambda preset: preset.name)
def test_record(preset):
    assert preset.layout in LAYOUTS
    free = ("Apache-2.0", "MIT", "BSD-3-Clause")
    assert preset.card.licence in (*free, *NOT_COMMERCIAL)
    for file in preset.files:
        assert file.url.startswith("https://")
        assert re.fullmatch(r"([0-9a-f]{8,64})?", file.sha256)
        assert re.fullmatch(r"([0-9a-f]{32})?", file.md5)
        # Where a name carries digits of the hash, they are the record's.
        if file.name.endswith(".pth"):
            assert file.name.endswith(f"-{file.sha256}.pth")
            assert file.url.endswith(file.name)
    if preset.accuracy:
        assert 50 < preset.accuracy.top1 < (preset.accuracy.top5 or 100) <= 100
        assert preset.accuracy.image_size == preset.card.preprocessing.image_size
        assert preset.accuracy.crop_fraction == preset.card.preprocessing.crop_fraction


@pytest.mark.parametrize(
    "preset", [p for p in PUBLIC if p in LOADABLE], ids=lambda preset: preset.name
)
def test_row_is_the_constructors(preset):
    assert preset.card.constructor in keras_senet.list_models()
    spec = CONSTRUCTORS[preset.card.constructor].spec
    row = spec.row(from_file=preset.card.architecture or None)
    if preset.source in ("timm", "image-classifiers") and "resnetrs" not in preset.name:
        forms = {"divisor": 8, "stem_pool": "ceil", "placement": "3x3"}
        assert forms.items() & row.to_json().items()
    # Nothing is said that goes without saying.
    for name in preset.card.architecture:
        rest = {k: v for k, v in preset.card.architecture.items() if k != name}
        try:
            assert spec.row(from_file=rest or None) != row
        except ValueError:  # the others make no sense without it
            continue
    found = network_of(Card(architecture=row.to_json()))
    assert preset.card.constructor in (found, "se_resnet", "se_resnext", "regnety")


def test_only_torch_files_are_the_last_resort():
    """ "imagenet" needs torch only where nothing else is published."""
    assert set(IMAGENET) <= {p.card.constructor for p in LOADABLE}
    for constructor in IMAGENET:
        preset = find_preset("imagenet", constructor)
        if preset.files[0].name.endswith(".pth"):
            others = [p for p in LOADABLE if p.card.constructor == constructor]
            assert all(p.files[0].name.endswith(".pth") for p in others)
        else:
            rivals = [
                p.accuracy.top1
                for p in LOADABLE
                if p.card.constructor == constructor
                and p.accuracy
                and p.card.classes == 1000
                and p.card.licence not in NOT_COMMERCIAL
                and not p.files[0].name.endswith(".pth")
            ]
            assert preset.accuracy.top1 == max(rivals)


def test_every_name_finds_its_record():
    for preset in ALL:
        for name in (preset.name, *preset.aliases):
            assert find_preset(name) is preset
        assert find_preset(preset.tag, preset.name.partition(".")[0]) is preset
    assert find_preset("imagenet", "se_resnet50").name == "se_resnet50.ra2_in1k"
    assert find_preset("imagenet", "se_mobilenet") is None
    assert find_preset("imagenet") is None


def test_list_and_default():
    assert list_weights("se_resnet18") == ["se_resnet18.legacy_in1k"]
    assert len(list_weights()) == len(LOADABLE)
    assert default_weights("se_resnet50") == "imagenet"
    assert default_weights("se_mobilenet") is None


@pytest.mark.parametrize(
    "lookup",
    [
        architecture_options,
        constructor_of,
        default_weights,
        find_host,
        keras_senet.create_model,
        list_weights,
        stages_of,
    ],
)
def test_names_of_no_network_are_refused(lookup):
    assert list(known_networks()) == list(CONSTRUCTORS)
    for network, build in CONSTRUCTORS.items():
        if build.__name__ != network:
            with pytest.raises(ValueError, match=f"Did you mean '{network}'?"):
                lookup(build.__name__)


def test_networks_with_weights_the_most_accurate_first():
    names = keras_senet.list_models(pretrained=True)
    assert names[:2] == ["regnety_1280", "se_resnext"]
    assert names[-2:] == ["se_resnet20", "se_mobilenet"]  # small images
    assert set(names) == {p.card.constructor for p in LOADABLE}
    assert keras_senet.list_models("regnety_00*", pretrained=True)[-1] == "regnety_002"


@pytest.mark.parametrize(
    ("weights", "constructor", "message"),
    [
        ("rac2_in1k", "se_resnet50", "Did you mean 'ra2_in1k'"),
        ("imagenet", "se_mobilenet", "weights='imagenet_host' starts from"),
        ("imagenet", "se_resnet32", "se_resnet32 has no presets yet"),
        ("se_resnet50.ra2_in1k", "se_resnet101", "which belongs to se_resnet50"),
        ("se_resnet50.ra2_in1k", "se_mobilenet", "which belongs to se_resnet50"),
        ("keras_in1k", "se_resnet18", "another, pre-activation network"),
        ("hf://cifar10", "se_resnet20", "hf://cifar10"),
        ("hf://se_resnet20.cifar10", "se_resnet20", "hf://se_resnet20.cifar10"),
    ],
)
def test_unknown_or_unfit_weights(weights, constructor, message):
    with pytest.raises(ValueError, match=message):
        open_checkpoint(weights, constructor)


def test_a_path_to_nothing():
    with pytest.raises(FileNotFoundError, match=r"no weights file.*'hf://user/model'"):
        open_checkpoint("folder/nothing.safetensors", "se_resnet50")
    assert open_checkpoint(None, "se_resnet50") is None


def test_generic_constructors_take_their_familys_presets():
    check_preset(PRESETS["se_resnet152d.ra2_in1k"], "se_resnet")
    check_preset(PRESETS["se_resnext101_64x4d.gluon_in1k"], "se_resnext")
    check_preset(PRESETS["se_resnet50.ra2_in1k"], "se_resnet")


def test_hosts_are_of_keras_applications():
    import keras

    for constructor, host in HOSTS.items():
        assert constructor in keras_senet.list_models()
        assert callable(getattr(keras.applications, host.application))


def test_preprocessing_record():
    record = Preprocessing(mean=[0.5], std=[0.25], image_size=28)
    assert Preprocessing.from_json(record.to_json()) == record
    assert record.scale_and_offset() == ([4 / 255], [-2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mean": (0.5,)}, "one value for each channel"),
        ({"std": (1, 0, 1)}, "`std` must be positive"),
        ({"channel_order": "GBR"}, "'RGB' or 'BGR'"),
        ({"interpolation": "nearest"}, "'bicubic' or 'bilinear'"),
        ({"crop_fraction": 1.5}, "at most 1"),
    ],
)
def test_preprocessing_rejects(arguments, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing(**arguments)


def test_preprocessing_of_other_fields():
    with pytest.raises(ValueError, match="may only have the fields"):
        Preprocessing.from_json({"mean": [0], "std": [1], "crop": 1})


def test_a_licence_that_forbids_trade_is_said_once(monkeypatch):
    opening = sys.modules["keras_senet.weights.opening"]
    monkeypatch.setattr(opening, "fetch", lambda preset: preset.name)
    monkeypatch.setattr(opening, "read_checkpoint", lambda path, preset: path)
    opening._say_licence.cache_clear()
    with pytest.warns(UserWarning, match=r"CC-BY-NC-4\.0, which does not allow"):
        open_checkpoint("swag_ft_in1k", "regnety_160")
    assert open_checkpoint("swag_ft_in1k", "regnety_160") == "regnety_160.swag_ft_in1k"
    for constructor in IMAGENET:
        preset = find_preset("imagenet", constructor)
        assert preset.card.licence not in NOT_COMMERCIAL
