"""What is measured, and the goals: a new subject or goal is a row."""

from typing import Literal, NamedTuple

from networks import FAMILIES


class Subject(NamedTuple):
    """A network in a form: its name in tables, keys of `NETWORKS` and of `FORMS`."""

    name: str
    network: str
    form: str


class Group(NamedTuple):
    """Subjects that take turns.

    Attributes:
        subjects: The subjects.
        batch: Images of a call.
        bases: So many of the first subjects are one peer in several forms; ratios in
            tables are to the fastest of them.
    """

    subjects: tuple[Subject, ...]
    batch: int
    bases: int = 1


class Part(NamedTuple):
    """What is measured together.

    Attributes:
        title: What it is.
        groups: What is compared.
        rounds: How many turns each subject gets.
        measures: "time" in seconds, "memory" in bytes or "kernels" in values.
        is_goal: Whether it is run when no part is named.
        apart: Whether each group has a process of its own, because memory would not
            hold them together.
    """

    title: str
    groups: tuple[Group, ...]
    rounds: int
    measures: Literal["time", "memory", "kernels"] = "time"
    is_goal: bool = True
    apart: bool = False


class Goal(NamedTuple):
    """A ratio that is aimed at.

    Attributes:
        part: The part that measures it.
        subject: What is measured.
        peers: What it is compared with: the fastest of these.
        batch: Images of a call.
        at_most: What subject / peer is to stay at or below.
        beside: The subject's default form, whose ratio is printed beside it.
    """

    part: str
    subject: str
    peers: tuple[str, ...]
    batch: int
    at_most: float
    beside: str | None = None


_SE, _PLAIN, _DEFAULT = "SEResNet50", "plain host", "SEResNet50, default form"
_KERAS = "keras.applications.ResNet50"
_BFLOAT16 = f"{_DEFAULT}, OpenVINO bfloat16"
_INT8 = f"{_DEFAULT}, OpenVINO int8"
_EXPORTED, _DEFAULT_EXPORTED = f"{_SE}, exported", f"{_DEFAULT}, exported"
_NEXT, _154 = "SEResNeXt50", "SENet154"


def _torch(name):
    """The names of a timm network's two memory formats."""
    return f"timm {name}, torch eager", f"timm {name}, torch channels last"


_TIMM_50, _TIMM_NEXT = _torch("seresnet50"), _torch("seresnext50_32x4d")
_TIMM_154 = _torch("senet154")


def _groups(batches, *rows, bases=1):
    subjects = tuple(Subject(*row) for row in rows)
    return tuple(Group(subjects, batch, bases) for batch in batches)


def _timm(names, network, form="torch"):
    return (names[0], network, form), (names[1], network, f"{form}_channels_last")


def _training_rows():
    return (
        (_PLAIN, "plain_resnet50", "training"),
        (f"{_PLAIN}, fused=False", "plain_resnet50_unfused", "training"),
        (f"{_SE}, fused=False", "se_resnet50_unfused", "training"),
        (_SE, "se_resnet50", "training"),
        (_DEFAULT, "se_resnet50_default", "training"),
    )


def _grouped(form, suffix, torch):
    """SE-ResNeXt-50 and SE-ResNet-50 in turn, then SENet-154, and their peers."""
    return (
        *_groups(
            (8,),
            *_timm(_TIMM_NEXT, "timm_resnext50", torch),
            *_timm(_TIMM_50, "timm_resnet50", torch),
            ("image-classifiers seresnext50", "image_classifiers_resnext50", form),
            ("kimm RegNetY032", "kimm_regnety032", form),
            (f"{_DEFAULT}{suffix}", "se_resnet50_default", form),
            (f"{_NEXT}{suffix}", "se_resnext50", form),
            *_exports((f"{_NEXT}, exported", "se_resnext50", "exported"), form),
            bases=2,
        ),
        *_groups(
            (8,),
            *_timm(_TIMM_154, "timm_senet154", torch),
            ("image-classifiers senet154", "image_classifiers_senet154", form),
            (f"{_154}{suffix}", "senet154", form),
            *_exports((f"{_154}, exported", "senet154", "exported"), form),
            bases=2,
        ),
    )


def _exports(row, form):
    return () if form == "training" else (row,)


def _family_groups():
    for name in FAMILIES:
        for what, form, batch in (
            ("inference", "exported", 1),
            ("training", "training", 4),
        ):
            yield from _groups(
                (batch,),
                (f"{name} plain, {what}", f"{name}/plain", form),
                (f"{name} with SE, {what}", f"{name}/se", form),
            )


PARTS: dict[str, Part] = {
    "inference": Part(
        "Inference, TensorFlow graph",
        _groups(
            (1, 8),
            (_KERAS, "keras_applications", "memory"),
            (f"{_KERAS}, constants", "keras_applications", "constants"),
            (f"{_PLAIN}, exported", "plain_resnet50", "exported"),
            (f"{_SE}, in memory", "se_resnet50", "memory"),
            (f"{_SE}, folded in memory", "se_resnet50", "folded"),
            (f"{_SE}, exported without folding", "se_resnet50", "constants"),
            (_EXPORTED, "se_resnet50", "exported"),
            (f"{_DEFAULT}, folded in memory", "se_resnet50_default", "folded"),
            (_DEFAULT_EXPORTED, "se_resnet50_default", "exported"),
        ),
        rounds=15,
    ),
    "litert": Part(
        "Inference, LiteRT",
        tuple(
            group
            for kind, form in (("float32", "litert"), ("int8", "litert_int8"))
            for group in _groups(
                (1,),
                (f"{_PLAIN}, {kind}", "plain_resnet50", form),
                (f"{_SE}, {kind}", "se_resnet50", form),
                (f"{_DEFAULT}, {kind}", "se_resnet50_default", form),
            )
        ),
        rounds=25,
    ),
    "int8": Part(
        "LiteRT, int8 beside float32",
        _groups(
            (1,),
            (f"{_SE}, float32", "se_resnet50", "litert"),
            (f"{_SE}, int8", "se_resnet50", "litert_int8"),
        ),
        rounds=15,
    ),
    "serving": Part(
        "Inference, the runtimes for servers without a GPU",
        _groups(
            (1, 8),
            (_DEFAULT_EXPORTED, "se_resnet50_default", "exported"),
            (f"{_DEFAULT}, LiteRT", "se_resnet50_default", "litert"),
            (f"{_DEFAULT}, LiteRT int8", "se_resnet50_default", "litert_int8"),
            (f"{_DEFAULT}, ONNX Runtime", "se_resnet50_default", "onnx"),
            (f"{_DEFAULT}, OpenVINO", "se_resnet50_default", "openvino"),
            (_BFLOAT16, "se_resnet50_default", "openvino_bfloat16"),
            (_INT8, "se_resnet50_default", "openvino_int8"),
        ),
        rounds=15,
    ),
    "peers": Part(
        "Inference, other packages' SE-ResNet-50",
        _groups(
            (1, 8),
            *_timm(_TIMM_50, "timm_resnet50"),
            ("image-classifiers seresnet50", "image_classifiers_resnet50", "memory"),
            (_EXPORTED, "se_resnet50", "exported"),
            (_DEFAULT_EXPORTED, "se_resnet50_default", "exported"),
            bases=2,
        ),
        rounds=11,
    ),
    "grouped": Part(
        "Inference, grouped convolutions",
        _grouped("memory", ", in memory", "torch"),
        rounds=9,
        apart=True,
    ),
    "training": Part(
        "Training step",
        _groups((8, 16), (_KERAS, "keras_applications", "training"), *_training_rows()),
        rounds=9,
    ),
    "grouped_training": Part(
        "Training step, grouped convolutions",
        _grouped("training", "", "torch_training"),
        rounds=9,
        apart=True,
    ),
    "memory": Part(
        "Peak memory of a training step",
        _groups((16,), *_training_rows()),
        rounds=3,
        measures="memory",
    ),
    "kernels": Part(
        "Values in SE's kernels",
        tuple(
            group
            for name, network in (
                (_SE, "se_resnet50"),
                (f"{_NEXT} 32x4d", "se_resnext50"),
            )
            for group in _groups(
                (1,), (name, network, "memory"), (f"{name}, folded", network, "folded")
            )
        ),
        rounds=1,
        measures="kernels",
    ),
    "xla": Part(
        "Inference, with and without XLA",
        _groups(
            (1, 8),
            (_KERAS, "keras_applications", "memory"),
            (f"{_KERAS}, XLA", "keras_applications", "xla"),
            (f"{_SE}, folded in memory", "se_resnet50", "folded"),
            (f"{_SE}, folded in memory, XLA", "se_resnet50", "folded_xla"),
        ),
        rounds=11,
        is_goal=False,
    ),
    "xla_training": Part(
        "Training step, with and without XLA",
        _groups(
            (8,),
            (_KERAS, "keras_applications", "training"),
            (f"{_KERAS}, XLA", "keras_applications", "training_xla"),
            (_SE, "se_resnet50", "training"),
            (f"{_SE}, XLA", "se_resnet50", "training_xla"),
        ),
        rounds=7,
        is_goal=False,
    ),
    "family": Part(
        "Every family, plain and with SE",
        tuple(_family_groups()),
        rounds=9,
        is_goal=False,
        apart=True,
    ),
}

_CONSTANTS = f"{_KERAS}, constants"

GOALS: tuple[Goal, ...] = (
    Goal("inference", _EXPORTED, (_KERAS,), 1, 0.85, _DEFAULT_EXPORTED),
    Goal("inference", _EXPORTED, (_KERAS,), 8, 0.88, _DEFAULT_EXPORTED),
    Goal("inference", _EXPORTED, (_CONSTANTS,), 1, 1.03, _DEFAULT_EXPORTED),
    Goal("inference", _EXPORTED, (_CONSTANTS,), 8, 1.02, _DEFAULT_EXPORTED),
    Goal(
        "inference",
        f"{_SE}, folded in memory",
        (_KERAS,),
        8,
        1.00,
        f"{_DEFAULT}, folded in memory",
    ),
    *(
        Goal(
            "litert",
            f"{_SE}, {kind}",
            (f"{_PLAIN}, {kind}",),
            1,
            at_most,
            f"{_DEFAULT}, {kind}",
        )
        for kind, at_most in (("float32", 1.01), ("int8", 1.06))
    ),
    Goal("int8", f"{_SE}, int8", (f"{_SE}, float32",), 1, 1 / 3.2),
    *(
        Goal("serving", name, (_DEFAULT_EXPORTED,), batch, at_most)
        for name, at_most in ((_BFLOAT16, 0.40), (_INT8, 0.35))
        for batch in (1, 8)
    ),
    Goal("peers", _EXPORTED, _TIMM_50, 8, 0.65, _DEFAULT_EXPORTED),
    Goal("training", _SE, (_KERAS,), 8, 0.85, _DEFAULT),
    Goal("training", _SE, (_KERAS,), 16, 0.85, _DEFAULT),
    Goal("training", _SE, (_PLAIN,), 8, 1.05, _DEFAULT),
    Goal("training", _SE, (_PLAIN,), 16, 1.05, _DEFAULT),
    Goal("memory", _SE, (_PLAIN,), 16, 1.05, _DEFAULT),
    Goal("kernels", f"{_SE}, folded", (_SE,), 1, 0.625),
    Goal("kernels", f"{_NEXT} 32x4d, folded", (f"{_NEXT} 32x4d",), 1, 0.75),
    Goal("grouped_training", _NEXT, (_DEFAULT,), 8, 1.25),
    Goal("grouped_training", _NEXT, _TIMM_NEXT, 8, 0.95),
    Goal("grouped_training", _DEFAULT, _TIMM_50, 8, 0.85),
    Goal("grouped", f"{_NEXT}, in memory", _TIMM_NEXT, 8, 0.95),
    Goal("grouped", f"{_NEXT}, exported", _TIMM_NEXT, 8, 0.90),
    Goal("grouped", f"{_154}, exported", _TIMM_154, 8, 0.90),
)
