"""The parts of the benchmark: which network in which form, and what is aimed at.

A new subject is a row. Subjects of one group are measured in turn.
"""

import dataclasses
from typing import Literal

from keras_senet.benchmark.networks import FAMILIES

PartName = Literal[
    "inference",
    "litert",
    "int8",
    "peers",
    "training",
    "memory",
    "kernels",
    "xla",
    "xla_training",
    "litert_forms",
    "training_forms",
    "family",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """A network in a form.

    Attributes:
        name: What tables and goals call it.
        network: A key of `NETWORKS`.
        form: A key of `FORMS`.
    """

    name: str
    network: str
    form: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """Subjects that are measured in turn.

    Attributes:
        subjects: The subjects; ratios in tables are to the first.
        batch: Images of a call.
    """

    subjects: tuple[Subject, ...]
    batch: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """What is measured together.

    Attributes:
        title: What it is.
        measures: "time", "memory" or "kernels".
        groups: What is compared.
        rounds: How many turns each subject gets.
        is_goal: Whether it is run when no part is named.
        processes: Shell patterns of subjects: those of each pattern are measured in a
            process of their own. One for all, unless memory would not hold them.
    """

    title: str
    groups: tuple[Group, ...]
    rounds: int
    measures: Literal["time", "memory", "kernels"] = "time"
    is_goal: bool = True
    processes: tuple[str, ...] = ("*",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Goal:
    """A ratio that is aimed at.

    Attributes:
        part: The part that measures it.
        subject: What is measured.
        peer: What it is compared with.
        batch: Images of a call.
        at_most: The ratio that subject / peer is to stay at or below.
        beside: The subject's default form, whose ratio is printed beside it.
    """

    part: PartName
    subject: str
    peer: str
    batch: int
    at_most: float
    beside: str | None = None


# Stride on the 1x1, as keras.applications has it; "default form": on the 3x3.
_SE, _PLAIN, _DEFAULT = "SEResNet50", "plain host", "SEResNet50, default form"
_KERAS = "keras.applications.ResNet50"


def _subjects(*rows: tuple[str, str, str]) -> tuple[Subject, ...]:
    return tuple(Subject(name=n, network=w, form=f) for n, w, f in rows)


def _groups(batches: tuple[int, ...], *rows: tuple[str, str, str]):
    return tuple(Group(subjects=_subjects(*rows), batch=batch) for batch in batches)


# A training step of these takes minutes on a CPU; both have grouped convolutions.
_NOT_TRAINED = ("se_resnext50", "senet154")


def _family_groups():
    for name in FAMILIES:
        for what, form, batch in (
            ("inference", "exported", 1),
            ("training", "training", 4),
        ):
            if what == "training" and name in _NOT_TRAINED:
                continue
            yield Group(
                subjects=_subjects(
                    (f"{name} plain, {what}", f"{name}/plain", form),
                    (f"{name} with SE, {what}", f"{name}/se", form),
                ),
                batch=batch,
            )


PARTS: dict[PartName, Part] = {
    "inference": Part(
        title="Inference, TensorFlow graph",
        groups=_groups(
            (1, 8),
            (_KERAS, "keras_applications", "variables"),
            (f"{_KERAS}, constants", "keras_applications", "constants"),
            (f"{_PLAIN}, exported", "plain_resnet50", "exported"),
            (f"{_SE}, in memory", "se_resnet50", "variables"),
            (f"{_SE}, folded in memory", "se_resnet50", "folded"),
            (f"{_SE}, exported without folding", "se_resnet50", "constants"),
            (f"{_SE}, exported", "se_resnet50", "exported"),
            (f"{_DEFAULT}, folded in memory", "se_resnet50_default", "folded"),
            (f"{_DEFAULT}, exported", "se_resnet50_default", "exported"),
        ),
        rounds=15,
    ),
    "litert": Part(
        title="Inference, LiteRT",
        groups=(
            *_groups(
                (1,),
                (f"{_PLAIN}, float32", "plain_resnet50", "litert"),
                (f"{_SE}, float32", "se_resnet50", "litert"),
                (f"{_DEFAULT}, float32", "se_resnet50_default", "litert"),
            ),
            *_groups(
                (1,),
                (f"{_PLAIN}, int8", "plain_resnet50", "litert_int8"),
                (f"{_SE}, int8", "se_resnet50", "litert_int8"),
                (f"{_DEFAULT}, int8", "se_resnet50_default", "litert_int8"),
            ),
        ),
        rounds=25,
    ),
    "int8": Part(
        title="LiteRT, int8 beside float32",
        groups=_groups(
            (1,),
            (f"{_SE}, float32", "se_resnet50", "litert"),
            (f"{_SE}, int8", "se_resnet50", "litert_int8"),
        ),
        rounds=15,
    ),
    "peers": Part(
        title="Inference, other packages' SE-ResNet-50",
        groups=_groups(
            (1, 8),
            ("timm seresnet50, torch eager", "timm", "torch"),
            ("image-classifiers seresnet50", "image_classifiers", "variables"),
            (f"{_SE}, exported", "se_resnet50", "exported"),
            (f"{_DEFAULT}, exported", "se_resnet50_default", "exported"),
        ),
        rounds=11,
    ),
    "training": Part(
        title="Training step",
        groups=_groups(
            (8, 16),
            (_KERAS, "keras_applications", "training"),
            (_PLAIN, "plain_resnet50", "training"),
            (f"{_PLAIN}, fused=False", "plain_resnet50_unfused", "training"),
            (f"{_SE}, fused=False", "se_resnet50_unfused", "training"),
            (_SE, "se_resnet50", "training"),
            (_DEFAULT, "se_resnet50_default", "training"),
        ),
        rounds=9,
    ),
    "memory": Part(
        title="Peak memory of a training step",
        groups=_groups(
            (16,),
            (_PLAIN, "plain_resnet50", "training"),
            (f"{_PLAIN}, fused=False", "plain_resnet50_unfused", "training"),
            (f"{_SE}, fused=False", "se_resnet50_unfused", "training"),
            (_SE, "se_resnet50", "training"),
            (_DEFAULT, "se_resnet50_default", "training"),
        ),
        rounds=3,
        measures="memory",
    ),
    "kernels": Part(
        title="Values in SE's kernels",
        groups=(
            *_groups(
                (1,),
                (_SE, "se_resnet50", "variables"),
                (f"{_SE}, folded", "se_resnet50", "folded"),
            ),
            *_groups(
                (1,),
                ("SEResNeXt50 32x4d", "se_resnext50", "variables"),
                ("SEResNeXt50 32x4d, folded", "se_resnext50", "folded"),
            ),
        ),
        rounds=1,
        measures="kernels",
    ),
    "xla": Part(
        title="Inference, with and without XLA",
        groups=_groups(
            (1, 8),
            (_KERAS, "keras_applications", "variables"),
            (f"{_KERAS}, XLA", "keras_applications", "xla"),
            (f"{_SE}, folded in memory", "se_resnet50", "folded"),
            (f"{_SE}, folded in memory, XLA", "se_resnet50", "folded_xla"),
        ),
        rounds=11,
        is_goal=False,
    ),
    "xla_training": Part(
        title="Training step, with and without XLA",
        groups=_groups(
            (8,),
            (_KERAS, "keras_applications", "training"),
            (f"{_KERAS}, XLA", "keras_applications", "training_xla"),
            (_SE, "se_resnet50", "training"),
            (f"{_SE}, XLA", "se_resnet50", "training_xla"),
        ),
        rounds=7,
        is_goal=False,
    ),
    "litert_forms": Part(
        title="LiteRT, other forms of SE",
        groups=(
            *_groups(
                (1,),
                (f"{_PLAIN}, float32", "plain_resnet50", "litert"),
                (f"{_SE}, float32", "se_resnet50", "litert"),
                (f"{_SE}, squeeze behind", "se_resnet50", "litert_unfolded"),
                (f"{_SE}, average pool", "se_resnet50", "litert_pool"),
                (f"{_SE}, fully connected", "se_resnet50", "litert_dense"),
            ),
            *_groups(
                (1,),
                (f"{_PLAIN}, int8", "plain_resnet50", "litert_int8"),
                (f"{_SE}, int8", "se_resnet50", "litert_int8"),
                (f"{_SE}, int8, float gates", "se_resnet50", "litert_float_gates"),
            ),
        ),
        rounds=25,
        is_goal=False,
    ),
    "training_forms": Part(
        title="Training step, other forms of SE",
        groups=_groups(
            (8,),
            (_PLAIN, "plain_resnet50", "training"),
            (_SE, "se_resnet50", "training"),
            (f"{_SE}, passes apart", "se_resnet50", "training_apart"),
            (f"{_SE}, fused=False", "se_resnet50_unfused", "training"),
        ),
        rounds=15,
        is_goal=False,
    ),
    "family": Part(
        title="Every family, plain and with SE",
        groups=tuple(_family_groups()),
        rounds=9,
        is_goal=False,
        processes=tuple(f"{name} *" for name in FAMILIES),
    ),
}

_EXPORTED, _DEFAULT_EXPORTED = f"{_SE}, exported", f"{_DEFAULT}, exported"

GOALS: tuple[Goal, ...] = (
    *(
        Goal(
            part="inference",
            subject=_EXPORTED,
            peer=peer,
            batch=batch,
            at_most=at_most,
            beside=_DEFAULT_EXPORTED,
        )
        for peer, batch, at_most in (
            (_KERAS, 1, 0.85),
            (_KERAS, 8, 0.88),
            (f"{_KERAS}, constants", 1, 1.03),
            (f"{_KERAS}, constants", 8, 1.02),
        )
    ),
    Goal(
        part="inference",
        subject=f"{_SE}, folded in memory",
        peer=_KERAS,
        batch=8,
        at_most=1.00,
        beside=f"{_DEFAULT}, folded in memory",
    ),
    *(
        Goal(
            part="litert",
            subject=f"{_SE}, {kind}",
            peer=f"{_PLAIN}, {kind}",
            batch=1,
            at_most=at_most,
            beside=f"{_DEFAULT}, {kind}",
        )
        for kind, at_most in (("float32", 1.01), ("int8", 1.06))
    ),
    Goal(
        part="int8",
        subject=f"{_SE}, int8",
        peer=f"{_SE}, float32",
        batch=1,
        at_most=1 / 3.2,
    ),
    Goal(
        part="peers",
        subject=_EXPORTED,
        peer="timm seresnet50, torch eager",
        batch=8,
        at_most=0.65,
        beside=_DEFAULT_EXPORTED,
    ),
    *(
        Goal(
            part="training",
            subject=_SE,
            peer=peer,
            batch=batch,
            at_most=at_most,
            beside=_DEFAULT,
        )
        for peer, at_most in ((_KERAS, 0.85), (_PLAIN, 1.05))
        for batch in (8, 16)
    ),
    Goal(
        part="memory",
        subject=_SE,
        peer=_PLAIN,
        batch=16,
        at_most=1.05,
        beside=_DEFAULT,
    ),
    *(
        Goal(
            part="kernels", subject=f"{name}, folded", peer=name, batch=1, at_most=share
        )
        for name, share in ((_SE, 0.625), ("SEResNeXt50 32x4d", 0.75))
    ),
)
