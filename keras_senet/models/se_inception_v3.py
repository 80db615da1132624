"""SE-Inception-v3.

Szegedy et al., Rethinking the Inception Architecture, arXiv 1512.00567, table 1 and
figures 5 to 10, in the form of keras.applications; SE after each module's
concatenation: arXiv 1709.01507, section 3.3 and figure 2.
"""

from collections.abc import Mapping

from keras_senet.models._blocks import Blocks
from keras_senet.models._builder import Family, constructor, preprocessing_functions
from keras_senet.models._inception import (
    Branches,
    Conv,
    Fork,
    InceptionArchitecture,
    Pool,
    inception_a,
    module,
    stem,
)
from keras_senet.weights.catalogue import HOSTS

_REDUCTION_A: Branches = {
    "3x3": (Conv(384, 3, 2),),
    "3x3dbl": (Conv(64), Conv(96, 3), Conv(96, 3, 2)),
    "pool": (Pool("max", 2),),
}
_REDUCTION_B: Branches = {
    "3x3": (Conv(192), Conv(320, 3, 2)),
    "7x7": (Conv(192), Conv(192, (1, 7)), Conv(192, (7, 1)), Conv(192, 3, 2)),
    "pool": (Pool("max", 2),),
}


def _inception_b(width: int) -> Branches:
    row, column = (1, 7), (7, 1)
    return {
        "1x1": (Conv(192),),
        "7x7": (Conv(width), Conv(width, row), Conv(192, column)),
        "7x7dbl": (
            Conv(width),
            Conv(width, column),
            Conv(width, row),
            Conv(width, column),
            Conv(192, row),
        ),
        "pool": (Pool("avg"), Conv(192)),
    }


_FORK = Fork((Conv(384, (1, 3)), Conv(384, (3, 1))))
_INCEPTION_C: Branches = {
    "1x1": (Conv(320),),
    "3x3": (Conv(384), _FORK),
    "3x3dbl": (Conv(448), Conv(384, 3), _FORK),
    "pool": (Pool("avg"), Conv(192)),
}

# The modules of each stage, mixed0 to mixed10.
_STAGES: Mapping[int, tuple[Branches, ...]] = {
    3: (inception_a(64, 32), inception_a(64, 64), inception_a(64, 64)),
    4: (_REDUCTION_A, *map(_inception_b, (128, 160, 160, 192))),
    5: (_REDUCTION_B, _INCEPTION_C, _INCEPTION_C),
}


def network(b: Blocks, x):
    """Stem and eleven modules; strides 8, 16, 32."""
    x = stem(b, x)
    index = 0
    for stage, modules in _STAGES.items():
        for branches in modules:
            x = module(b, x, branches, f"mixed{index}")
            x = b.se(x, stage, f"mixed{index}")
            index += 1
    return x


FAMILY = Family(
    architecture=InceptionArchitecture,
    network=network,
    image_size=299,
    min_size=75,
    epsilon=1e-3,
    momentum=0.99,
    drops_paths=False,
    preprocessing=HOSTS["se_inception_v3"].card.preprocessing,
)
preprocess_input, decode_predictions = preprocessing_functions(FAMILY)

SEInceptionV3 = constructor(FAMILY, "SEInceptionV3", "se_inception_v3", __name__)
