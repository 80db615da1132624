"""What constructors take: all of it is shown, and nothing else is taken."""

import inspect
import re

import keras
import numpy as np
import pytest

import keras_senet
from keras_senet.card import Card
from keras_senet.models import CONSTRUCTORS, architecture_options
from keras_senet.models._records import options_of
from keras_senet.weights.shipped import shipped_folder, shipped_presets

# Every option of any network, with a value that is not its default anywhere.
OTHER = {
    "se": False,
    "reduction": 8,
    "squeeze": "max",
    "gate": "tanh",
    "se_bias": False,
    "identity_start": True,
    "divisor": 8,
    "placement": "post",
    "block": "basic",
    "blocks": (1, 1, 1, 1),
    "filters": (32, 32, 32, 32),
    "cardinality": 2,
    "width": 32,
    "half_reduce": True,
    "branch_relu": True,
    "stride_on": "1x1",
    "stem": "deep",
    "stem_filters": (8, 8, 8),
    "stem_pool": "ceil",
    "shortcut": "avg",
    "anti_alias": True,
    "widen": 3,
    "preactivation": True,
    "batch_norm": False,
    "alpha": 0.5,
    "group_width": 1,
    "padding": "same",
    "drop_path_rate": 0.5,
    "output_stride": 16,
}


@pytest.fixture
def resolved(monkeypatch):
    """Constructors return their row and options, and build nothing."""

    def assemble(family, network, row, options, checkpoint):
        return row, options

    monkeypatch.setattr("keras_senet.models._builder._assemble", assemble)

    def call(constructor, **arguments):
        return constructor(**{"weights": None, **arguments})

    return call


def _shown(name):
    return inspect.signature(CONSTRUCTORS[name]).parameters


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_what_is_shown_is_taken_and_nothing_else(name, resolved):
    constructor = CONSTRUCTORS[name]
    for option, value in OTHER.items():
        if option in ("stem", "stem_filters"):  # one needs the other
            continue
        if option in ("block", "blocks", "width", "half_reduce", "cardinality"):
            continue
        if option in _shown(name):
            row, options = resolved(constructor, **{option: value})
            holder = row if hasattr(row, option) else options
            assert getattr(holder, option) == value
            continue
        if constructor.spec.fixed.get(option) == value:  # it may be said
            continue
        with pytest.raises((TypeError, ValueError)) as error:
            resolved(constructor, **{option: value})
        message = str(error.value)
        assert f"`{option}`" in message or repr(option) in message
        assert "\n" not in message


def test_the_form_of_generic_networks(resolved):
    form = {"blocks": (1, 1, 1, 1), "filters": (8, 8, 8, 8)}
    deep = {"stem": "deep", "stem_filters": (8, 8, 8), "cardinality": 2, "width": 32}
    row, _ = resolved(keras_senet.SEResNeXt, half_reduce=True, **form, **deep)
    assert (row.stem_filters, row.cardinality, row.half_reduce) == ((8, 8, 8), 2, True)
    row, _ = resolved(keras_senet.SEResNet, block="basic", branch_relu=True, **form)
    assert (row.block, row.filters) == ("basic", (8, 8, 8, 8))


def test_the_table_of_other_values_is_complete():
    known = {"fused", "data_format", "dropout_rate", "include_preprocessing"}
    known |= {"se_stages"}
    for name in CONSTRUCTORS:
        keywords = [p for p in _shown(name).values() if p.kind is p.KEYWORD_ONLY]
        assert {p.name for p in keywords} <= set(OTHER) | known


def test_families_show_what_they_have_only():
    for option in ("stem", "stride_on", "shortcut", "placement", "drop_path_rate"):
        assert option not in _shown("se_vgg16")
        assert f"    {option}:" not in keras_senet.SEVGG16.__doc__
    assert "stride_on" not in _shown("se_resnet18")
    assert "blocks" not in _shown("se_resnet50")
    assert "blocks" in _shown("se_resnet")


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_signature_and_docstring_are_the_record(name):
    constructor = CONSTRUCTORS[name]
    text = inspect.getdoc(constructor)
    arguments = text[text.index("Args:") : text.index("Returns:")]
    documented = re.findall(r"^    (\w+): ", arguments, re.M)
    assert documented == list(_shown(name))
    assert max(map(len, text.splitlines())) <= 88
    for option in architecture_options(name).values():
        assert option.doc and option.name in options_of(constructor.family.architecture)


def test_a_value_that_is_fixed_may_be_said(resolved):
    assert resolved(keras_senet.SEVGG16, placement="standard")
    row, _ = resolved(keras_senet.SEResNet18, blocks=[2, 2, 2, 2], stride_on="3x3")
    assert row.blocks == (2, 2, 2, 2)


def _integers(option):
    """A value of NumPy's integers for an option, or None if it takes none."""
    if "int" not in str(option.annotation):
        return None
    values = {
        "input_shape": np.array([96, 96, 3]),
        "se_stages": None,
        "stem_filters": np.array([64]),
        "output_stride": np.int64(16),
        "width": np.int64(64),
    }
    if option.name in ("blocks", "filters"):
        return np.array([1, 1, 1, 1]) * 64
    return values.get(option.name, np.int64(8))


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_numpys_integers_are_pythons(name, resolved):
    constructor = CONSTRUCTORS[name]
    given = {p.name: _integers(p) for p in _shown(name).values()}
    given = {n: v for n, v in given.items() if v is not None}
    given["se_stages"] = np.array(constructor.family.architecture.stages[-1:])
    if name == "senet154":
        given["stem_filters"] = np.array([64, 64, 64])
    assert {"classes", "input_shape", "reduction", "divisor"} <= set(given)
    row, options = resolved(constructor, **given)
    for option, value in given.items():
        found = getattr(row if hasattr(row, option) else options, option)
        expected = value.tolist()
        assert found == (tuple(expected) if isinstance(expected, list) else expected)
        for number in found if isinstance(found, tuple) else (found,):
            assert type(number) is int


def test_a_network_of_numpys_integers():
    model = keras_senet.SEResNet(
        weights=None,
        blocks=np.array([1, 1, 1, 1]),
        filters=list(np.array([8, 8, 8, 8])),
        reduction=np.int64(4),
        classes=np.int64(5),
        input_shape=np.array([32, 32, 3]),
        output_stride=np.int32(16),
    )
    assert model.output_shape == (None, 5)
    assert Card.parse(model.card.to_json(), "").classes == 5


@pytest.mark.parametrize("name", ["reduction", "squeeze_filters", "divisor"])
def test_numpys_integers_in_the_layer(name):
    layer = keras_senet.SqueezeExcite(**{name: np.int64(4)})
    assert type(layer.get_config()[name]) is int
    for bad in (True, 4.0, np.float64(4), "4", 0, -1, None if name == "divisor" else 0):
        with pytest.raises(ValueError, match=f"`{name}` must be a positive integer"):
            keras_senet.SqueezeExcite(**{name: bad})


ELSEWHERE = [
    ({"num_classes": 10}, TypeError, "does not take `num_classes`. Use classes=10."),
    ({"pretrained": True}, TypeError, "`pretrained`. Use weights='imagenet'."),
    ({"pretrained": False}, TypeError, "Use weights=None."),
    ({"ratio": 16}, TypeError, "not take `ratio`. Use reduction=16, the paper's r."),
    ({"se_ratio": 0.25}, TypeError, "Use reduction=4, the paper's r."),
    ({"input_shape": 224}, ValueError, "channels), for example (224, 224, 3)."),
    ({"input_shape": (8, 8, 3)}, ValueError, "at least 32 pixels"),
    ({"weights": True}, ValueError, "`weights` must be a string, a path or None."),
    ({"weights": 0}, ValueError, "or a name of keras_senet.list_weights()."),
    ({"classes": 10.0}, ValueError, "`classes` must be a positive integer or None."),
    ({"classes": True}, ValueError, "`classes` must be a positive integer or None."),
    (
        {"classifier_activation": "sofmax"},
        ValueError,
        "Received: classifier_activation='sofmax'. Did you mean 'softmax'?",
    ),
    (
        {"gate": "sigmod"},
        ValueError,
        "Received: gate='sigmod'. Did you mean 'sigmoid'?",
    ),
    ({"reducton": 8}, TypeError, "'reducton'. Did you mean 'reduction'?"),
    ({"include_top": "no"}, ValueError, "`include_top` must be True or False."),
    ({"dropout_rate": "0.1"}, ValueError, "`dropout_rate` must be a number."),
]


@pytest.mark.parametrize(("arguments", "error", "message"), ELSEWHERE, ids=str)
def test_habits_from_elsewhere(arguments, error, message, monkeypatch):
    """One line with the remedy, before anything is fetched or built."""

    def fail(*_, **__):
        raise AssertionError("fetched or built")

    monkeypatch.setattr("keras_senet.weights.open_checkpoint", fail)
    monkeypatch.setattr("keras_senet.models._builder._assemble", fail)
    with pytest.raises(error) as raised:
        keras_senet.SEResNet50(**arguments)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_pretrained_where_nothing_is_the_default():
    with pytest.raises(TypeError, match=r"list_weights\('se_resnet20'\)"):
        keras_senet.SEResNet20(pretrained=True)


def test_ratio_of_the_layer():
    with pytest.raises(TypeError, match="Use reduction=16, the paper's r"):
        keras_senet.SqueezeExcite(ratio=16)
    with pytest.raises(TypeError, match="Use reduction=4, the paper's r"):
        keras_senet.SqueezeExcite(rd_ratio=0.25)
    with pytest.raises(TypeError, match="graft does not take `ratio`"):
        keras_senet.graft(keras.Sequential(), ratio=8)


def test_rows_of_files_have_the_fields_of_before(resolved):
    """Those that version 0.1 wrote, in its order."""
    for preset in shipped_presets():
        written = Card.read(shipped_folder() / f"{preset.name}.weights.h5").architecture
        row, _ = resolved(CONSTRUCTORS[preset.card.constructor])
        assert list(row.to_json()) == list(written)
    row, _ = resolved(keras_senet.SEResNet50, gate=keras.activations.tanh)
    assert row.to_json()["gate"] == "tanh"
    assert list(row.to_json())[9:] == [
        *("block", "blocks", "filters", "cardinality", "width", "half_reduce"),
        *("branch_relu", "stride_on", "stem", "stem_filters", "stem_pool", "shortcut"),
        "anti_alias",
    ]


def test_a_tensor_has_its_own_shape():
    tensor = keras.Input((32, 32, 3))
    same = keras_senet.SEResNet20(
        weights=None, input_tensor=tensor, input_shape=(None, None, 3)
    )
    assert same.input_shape == (None, 32, 32, 3)
    for shape in ((64, 64, 1), (32, 32)):
        with pytest.raises(ValueError, match="must be that of `input_tensor`"):
            keras_senet.SEResNet20(weights=None, input_tensor=tensor, input_shape=shape)
    with pytest.raises(ValueError, match=r"keras\.Input.*Received: ndarray"):
        keras_senet.SEResNet20(weights=None, input_tensor=np.zeros((1, 32, 32, 3)))


def test_stages_are_a_set():
    row = keras_senet.models.Architecture(se_stages=(5, 4))
    assert row == keras_senet.models.Architecture(se_stages=(4, 5, 5))
    spec = keras_senet.SEResNet20.spec
    assert spec.row({"se_stages": (1, 2, 3)}, {"se_stages": "all"}).se_stages == "all"
