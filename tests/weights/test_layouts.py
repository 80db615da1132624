"""Foreign layouts: golden files of other implementations, recognised and loaded."""

import importlib.util
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from keras_senet import Preprocessing, create_model, preprocess_input
from keras_senet.models import network_of
from keras_senet.weights import read_checkpoint
from keras_senet.weights.layouts import LAYOUTS, image_classifiers, timm_modern
from keras_senet.weights.layouts._resnet import describe_resnet
from keras_senet.weights.readers import read_file

GOLDEN = Path(__file__).parent / "golden"
ROWS = {
    "timm_modern_bottleneck.safetensors": {
        "block": "bottleneck",
        "blocks": [1, 2, 1, 1],
        "filters": [2, 4, 8, 16],
        "divisor": 8,
        "stride_on": "3x3",
        "stem_pool": "padded",
        "shortcut": "1x1",
    },
    "timm_modern_deep.safetensors": {
        "blocks": [1, 1, 2, 1],
        "cardinality": 2,
        "width": 32,
        "stem": "deep",
        "stem_filters": [8, 8, 16],
        "shortcut": "avg",
    },
    "timm_legacy_basic.safetensors": {
        "block": "basic",
        "filters": [4, 8, 16, 32],
        "reduction": 4,
        "divisor": 1,
        "branch_relu": True,
        "stem_pool": "ceil",
    },
    "timm_legacy_bottleneck.pth": {
        "block": "bottleneck",
        "stride_on": "1x1",
        "stem_pool": "ceil",
    },
    "regnet_timm.safetensors": {
        "blocks": [1, 1, 3, 1],
        "filters": [8, 16, 32, 64],
        "group_width": 4,
        "reduction": 4,
        "placement": "3x3",
        "padding": "even",
    },
    "regnet_torchvision.pth": {
        "blocks": [1, 2, 1, 1],
        "filters": [8, 16, 16, 32],
        "group_width": 8,
        "padding": "even",
    },
    "regnet_keras.h5": {
        "blocks": [1, 2, 1, 1],
        "filters": [8, 16, 16, 32],
        "group_width": 8,
        "reduction": 4,
        "padding": "same",
    },
    "image_classifiers_grouped.h5": {
        "filters": [2, 4, 8, 16],
        "cardinality": 2,
        "half_reduce": True,
        "stem": "deep",
        "stem_filters": [2, 2, 4],
        "shortcut": "3x3",
        "stride_on": "3x3",
        "stem_pool": "ceil",
    },
}


def image():
    values = np.sin(np.arange(50 * 67 * 3) * 0.37) * 2
    return values.reshape(1, 50, 67, 3).astype("float32")


def needs_torch(name):
    if name.endswith(".pth") and importlib.util.find_spec("torch") is None:
        pytest.skip("needs torch")


def build(name, **kwargs):
    checkpoint = read_checkpoint(GOLDEN / name)
    return create_model(
        network_of(checkpoint.card),
        weights=GOLDEN / name,
        input_shape=(50, 67, 3),
        classifier_activation=None,
        **kwargs,
    )


@pytest.mark.parametrize("name", ROWS)
def test_golden_logits(name, relative_error):
    needs_torch(name)
    expected = np.load(GOLDEN / "logits.npz")[name]
    assert relative_error(build(name)(image()), expected) < 1e-5


@pytest.mark.parametrize("name", ROWS)
def test_row_is_recognised(name):
    needs_torch(name)
    checkpoint = read_checkpoint(GOLDEN / name)
    row = checkpoint.card.architecture
    assert {k: row[k] for k in ROWS[name]} == ROWS[name]
    assert (checkpoint.card.classes, checkpoint.channels) == (5, 3)
    assert checkpoint.card.include_top
    assert checkpoint.layout in name
    record = checkpoint.card.preprocessing
    known = None if record is None else (record.mean, record.std)
    # As the presets of these files say.
    assert known == (((0.0,) * 3, (1.0,) * 3) if name == "regnet_keras.h5" else None)
    assert checkpoint.layout in LAYOUTS


def test_contradicting_argument_is_an_error():
    with pytest.raises(ValueError, match="shortcut is 'avg' in the file and '1x1'"):
        build("timm_modern_deep.safetensors", shortcut="1x1")


def test_every_weight_matters():
    """Each array of a golden file moves the logits: none is dropped on the way."""
    raw = read_file(GOLDEN / "timm_modern_deep.safetensors").arrays
    arrays, _ = timm_modern.read(raw)
    counters = [name for name in raw if name.endswith("num_batches_tracked")]
    assert counters and len(arrays) == len(raw) - len(counters)
    total = sum(a.size for n, a in raw.items() if n not in counters)
    assert sum(a.size for a in arrays.values()) == total


def test_unknown_names_are_listed():
    arrays = {"layer1.0.conv1.weight": np.ones((4, 4, 1, 1), "float32")}
    arrays["bn1.weight"] = arrays["surprise.weight"] = np.ones(4, "float32")
    with pytest.raises(ValueError, match=r"1 other names, surprise\.weight"):
        timm_modern.read(arrays)


def test_missing_block_is_an_error():
    raw = read_file(GOLDEN / "timm_modern_bottleneck.safetensors").arrays
    cut = {k: a for k, a in raw.items() if not k.startswith("layer2.0.")}
    with pytest.raises(ValueError, match="four complete stages"):
        timm_modern.read(cut)


def test_se_widths_that_are_no_fraction_are_an_error():
    arrays = {
        f"conv{s}_block1_1_conv/kernel": np.ones((3, 3, 8, 64)) for s in range(2, 6)
    }
    arrays |= {
        f"conv{s}_block1_2_conv/kernel": np.ones((3, 3, 64, 64)) for s in range(2, 6)
    }
    arrays["conv1_conv/kernel"] = np.ones((7, 7, 3, 64))
    assert describe_resnet(arrays)["se"] is False
    arrays["conv2_block1_se/reduce/kernel"] = np.ones((1, 1, 64, 4))
    arrays["conv3_block1_se/reduce/kernel"] = np.ones((1, 1, 64, 37))
    with pytest.raises(ValueError, match="divided by one number"):
        describe_resnet(arrays)
    arrays["conv3_block1_se/reduce/kernel"] = np.ones((1, 1, 64, 4))
    row = describe_resnet(arrays)
    assert (row["se_stages"], row["se_bias"], row["reduction"]) == ([2, 3], False, 16)


def test_preactivated_image_classifiers_are_refused():
    arrays = {"stage1_unit1_conv1/kernel": np.ones((3, 3, 8, 8), "float32")}
    assert image_classifiers.matches(arrays)
    with pytest.raises(ValueError, match="pre-activation networks"):
        image_classifiers.read(arrays)


def copy_of(name, folder, **config):
    """A golden file under another name, with a hub folder's config.json beside it."""
    path = folder / name
    source = "timm_modern_deep.safetensors"
    path.write_bytes((GOLDEN / source).read_bytes())
    if config:
        (folder / "config.json").write_text(json.dumps(config))
    return path


def made(path, **arguments):
    arguments = {"input_shape": (64, 64, 3), **arguments}
    return create_model("se_resnext", weights=path, **arguments).card.architecture


def test_a_name_tells_what_arrays_do_not(tmp_path):
    """The pools of anti-aliased networks have no weights: bare files are alike."""
    bare = copy_of("model.safetensors", tmp_path)
    assert made(bare)["anti_alias"] is False
    assert made(bare, anti_alias=True)["anti_alias"] is True
    named = copy_of("seresnextaa101d_32x8d_ah-83c8ae12.safetensors", tmp_path)
    assert made(named)["anti_alias"] is True
    with pytest.raises(ValueError, match="anti_alias is True in the file and False"):
        made(named, anti_alias=False)
    with pytest.raises(
        ValueError, match=r"'resnetblur50-8\.pth' uses blurring for its strides"
    ):
        read_checkpoint(copy_of("resnetblur50-8.pth", tmp_path))
    copy_of("any", tmp_path, architecture="seresnextaa101d_32x8d")
    assert made(bare)["anti_alias"] is True
    copy_of("any", tmp_path, architecture="seresnext50_32x4d")
    with pytest.raises(ValueError, match="anti_alias is False in the file and True"):
        made(bare, anti_alias=True)
    copy_of("any", tmp_path, architecture="resnetblur50")
    with pytest.raises(
        ValueError, match="'resnetblur50' uses blurring for its strides"
    ):
        read_checkpoint(bare)


def test_timms_configuration_says_how_images_are_prepared(tmp_path):
    known = {"mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 0.95, "first_conv": "x"}
    known |= {"input_size": [3, 160, 160], "interpolation": "bilinear"}
    path = copy_of(
        "model.safetensors", tmp_path, architecture="seresnext26d", pretrained_cfg=known
    )
    assert read_checkpoint(path).card.preprocessing == Preprocessing(
        mean=known["mean"], std=known["std"], image_size=160, crop_fraction=0.95,
        interpolation="bilinear",
    )  # fmt: skip
    for name, value in {"mean": "half", "input_size": 160, "crop_pct": 2}.items():
        broken = {"architecture": "x", "pretrained_cfg": {**known, name: value}}
        copy_of("model.safetensors", tmp_path, **broken)
        with pytest.raises(ValueError, match="must say how images are prepared"):
            read_checkpoint(path)
    # What is no configuration of timm's says nothing.
    for text in ("[" * 100_000, "[]", '{"architecture": {}, "pretrained_cfg": 1}'):
        (tmp_path / "config.json").write_text(text)
        assert read_checkpoint(path).card.preprocessing is None


@pytest.mark.parametrize("prefix", ["module.", "model.", "backbone.", "module.net."])
def test_prefixes_of_real_files(prefix):
    raw = read_file(GOLDEN / "timm_modern_deep.safetensors").arrays
    arrays, _ = timm_modern.read({prefix + name: a for name, a in raw.items()})
    expected, _ = timm_modern.read(raw)
    assert list(arrays) == list(expected)
    # One that not all names have is a name.
    assert not timm_modern.matches({"head.weight": raw["fc.weight"], "module.a": 1})


def test_a_checkpoint_without_se_says_so(tmp_path):
    raw = read_file(GOLDEN / "timm_modern_deep.safetensors").arrays
    path = tmp_path / "plain.safetensors"
    save_file({n: a for n, a in raw.items() if ".se." not in n}, path)
    with pytest.warns(UserWarning, match="has no SE, so the network has none"):
        assert made(path)["se"] is False
    assert made(path, se=False)["se"] is False


@pytest.mark.parametrize(
    ("application", "constructor", "arguments"),
    [
        ("MobileNet", "se_mobilenet", {}),
        ("VGG16", "se_vgg16", {}),
        ("ResNet50", "se_resnet50", {}),
    ],
)
def test_files_of_keras_applications(
    application, constructor, arguments, randomize, tmp_path, relative_error, images
):
    shape = (64, 64, 3)
    host = randomize(
        getattr(keras.applications, application)(
            weights=None, input_shape=shape, include_top=False
        )
    )
    path = tmp_path / "host.weights.h5"
    host.save_weights(path)
    model = create_model(
        constructor,
        weights=path,
        include_top=False,
        input_shape=shape,
        se=False,
        **({"stem_pool": "padded"} if application == "ResNet50" else {}),
        **arguments,
    )
    x = images(1, *shape)
    assert relative_error(model(x), host(x)) < 1e-5
    assert not any("_se/" in v.path for v in model.variables)
    module = {"ResNet50": "resnet", "MobileNet": "mobilenet", "VGG16": "vgg16"}
    theirs = getattr(keras.applications, module[application]).preprocess_input
    photo = np.random.default_rng(0).uniform(0, 255, shape).astype("float32")
    ours = preprocess_input(photo, preset=model.card.preprocessing)
    np.testing.assert_allclose(ours, theirs(photo.copy()), atol=1e-4)


@pytest.mark.parametrize(
    ("application", "constructor", "size"),
    [
        ("InceptionV3", "se_inception_v3", 75),
        ("InceptionResNetV2", "se_inception_resnet_v2", 75),
        ("MobileNet", "se_mobilenet", 64),
        ("VGG16", "se_vgg16", 32),
    ],
)
@pytest.mark.slow
def test_host_with_se_at_the_identity(
    application, constructor, size, randomize, monkeypatch, relative_error, images
):
    build_host = getattr(keras.applications, application)
    shape = (224, 224, 3) if size < 75 else (299, 299, 3)
    host = randomize(build_host(weights=None, classifier_activation=None))
    monkeypatch.setattr(keras.applications, application, lambda weights: host)
    with pytest.warns(UserWarning, match="untrained"):
        model = create_model(
            constructor, weights="imagenet_host", classifier_activation=None
        )
    x = images(1, *shape)
    assert relative_error(model(x), host(x)) < 1e-6
    assert any("_se/" in v.path for v in model.variables)


def test_host_that_cannot_be_fetched(monkeypatch):
    def build(weights):
        raise Exception("URL fetch failure on https://…")  # as keras.utils.get_file

    monkeypatch.setattr(keras.applications, "MobileNet", build)
    with pytest.raises(
        OSError, match="MobileNet cannot be downloaded: URL fetch failure"
    ):
        create_model("se_mobilenet", weights="imagenet_host")


def test_a_config_of_timms_is_not_of_another_librarys_file(tmp_path):
    """A neighbour in the same folder said how images of a MobileNet are prepared."""
    config = {
        "architecture": "vit_base_patch16_224",
        "pretrained_cfg": {
            "mean": [0.5] * 3,
            "std": [0.5] * 3,
            "input_size": [3, 9, 9],
        },
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    host = keras.applications.MobileNet(weights=None, alpha=0.25)
    host.save_weights(tmp_path / "a.weights.h5")
    record = read_checkpoint(tmp_path / "a.weights.h5").card.preprocessing
    assert record.image_size == 224


def test_a_folder_is_no_file_of_weights(tmp_path):
    with pytest.raises(ValueError, match=r"Use keras_senet\.load_pretrained"):
        create_model("se_resnet20", weights=tmp_path)
