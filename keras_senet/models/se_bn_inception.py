"""SE-BN-Inception.

Ioffe and Szegedy, arXiv 1502.03167, in the form that the authors of arXiv 1709.01507
released as SE-BN-Inception: widths and pools of its Caffe definition.
"""

from keras_senet.models._blocks import Blocks
from keras_senet.models._builder import Family, constructor, preprocessing_functions
from keras_senet.models._inception import (
    Branches,
    Conv,
    InceptionArchitecture,
    Pool,
    module,
)

# Stage, name, width of the 1x1, widths of the 3x3's two convolutions, first and other
# width of the double 3x3's three, pool and its projection's width.
_MODULES = (
    (3, "3a", 64, (64, 64), (64, 96), "avg", 32),
    (3, "3b", 64, (64, 96), (64, 96), "avg", 64),
    (4, "3c", None, (128, 160), (64, 96), "max", None),
    (4, "4a", 224, (64, 96), (96, 128), "avg", 128),
    (4, "4b", 192, (96, 128), (96, 128), "avg", 128),
    (4, "4c", 160, (128, 160), (128, 160), "avg", 128),
    (4, "4d", 96, (128, 192), (160, 192), "avg", 128),
    (5, "4e", None, (128, 192), (192, 256), "max", None),
    (5, "5a", 352, (192, 320), (160, 224), "avg", 128),
    (5, "5b", 352, (192, 320), (192, 224), "max", 128),
)


def network(b: Blocks, x):
    """Stem and ten modules; strides 8, 16, 32."""
    x = b.conv_norm_relu(x, 64, 7, 2, name="conv1")
    x = _ceil_pool(b, x, "pool1")
    x = b.conv_norm_relu(x, 64, name="conv2_1")
    x = b.conv_norm_relu(x, 192, 3, name="conv2_2")
    x = _ceil_pool(b, x, "pool2")
    for stage, letter, *widths in _MODULES:
        x = inception(b, x, stage, f"inception_{letter}", *widths)
    return x


def inception(b: Blocks, x, stage: int, name: str, *widths):
    """A 1x1, a 3x3, a double 3x3 and a pool; SE on their concatenation."""
    x = module(b, x, _branches(*widths), name, convolve=_convolve, pool=_pool)
    return b.se(x, stage, name)


def _branches(one, three, double, kind, projection) -> Branches:
    """Four branches; without a 1x1 and a projection, the module halves the map."""
    strides = 1 if one else 2
    branches = {
        "3x3": (Conv(three[0]), Conv(three[1], 3, strides)),
        "double3x3": (Conv(double[0]), Conv(double[1], 3), Conv(double[1], 3, strides)),
        "pool": (Pool(kind, strides),),
    }
    if not one:
        return branches
    pool = (Pool(kind), Conv(projection))
    return {"1x1": (Conv(one),), **branches, "pool": pool}


def _convolve(b, x, conv, name):
    return b.conv_norm_relu(x, conv.filters, conv.kernel_size, conv.strides, name=name)


def _pool(b, x, step, name):
    """Caffe's pools: strided ones in ceil mode, averages that count the padding."""
    if step.strides == 2:
        # Where the map's size is odd, the released branches do not fit together. The
        # second zero gives the pool as many windows as the convolutions beside it.
        return _ceil_pool(b, x, name, 2)
    if step.kind == "max":
        return b.max_pool(x, 3, 1, name, padding="same")
    return b.average_pool(b.pad(x, 1, f"{name}_pad"), 3, 1, name)


def _ceil_pool(b, x, name, margin=1):
    # Zeros are neutral: no map here is negative, unless a chosen gate is.
    x = b.pad(x, ((0, margin), (0, margin)), f"{name}_pad")
    return b.max_pool(x, 3, 2, name)


FAMILY = Family(architecture=InceptionArchitecture, network=network, drops_paths=False)
preprocess_input, decode_predictions = preprocessing_functions(FAMILY)

SEBNInception = constructor(FAMILY, "SEBNInception", "se_bn_inception", __name__)
