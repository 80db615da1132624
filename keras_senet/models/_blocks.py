"""Convolution, normalisation and activation, shortcuts, and where SE goes."""

import dataclasses
from collections.abc import Callable, Sequence

from keras import initializers, layers

from keras_senet.layers import BatchNormalization, Conv2D, SqueezeExcite
from keras_senet.models._architecture import Architecture


@dataclasses.dataclass(frozen=True, kw_only=True)
class Blocks:
    """The parts that networks are made of, with one network's settings filled in."""

    architecture: Architecture
    data_format: str
    epsilon: float = 1e-5  # of batch normalization
    momentum: float = 0.9
    drop_path_rate: float = 0.0  # of the last unit; it grows linearly up to that
    output_stride: int = 32  # after it, stages dilate instead of striding
    fused: bool = True  # batch normalization in TensorFlow's fused kernel
    squeeze_filters: int | None = None  # SE's width, if no share of its own input

    @property
    def axis(self) -> int:
        """The channel axis."""
        return 3 if self.data_format == "channels_last" else 1

    def channels(self, x) -> int:
        return x.shape[self.axis]

    def pad(self, x, padding, name: str):
        return layers.ZeroPadding2D(padding, data_format=self.data_format, name=name)(x)

    def conv(
        self,
        x,
        filters: int,
        kernel_size: int | tuple[int, int] = 1,
        strides: int = 1,
        *,
        name: str,
        groups: int = 1,
        dilation: int = 1,
        use_bias: bool = False,
        padding: str = "even",
    ):
        """Convolution that pads (k - 1) / 2 on all sides, as Caffe and torch do.

        Keras' "same" pads a strided one of an even map at the bottom and right only.
        """
        if padding == "even" and strides > 1 and kernel_size != 1:
            margin = dilation * (kernel_size - 1) // 2
            x = self.pad(x, margin, name.replace("_conv", "_pad"))
            padding = "valid"
        # Keras 3.15.1 adds a bias along the width, where the map is as wide as deep.
        detours = use_bias and self.axis == 1 and x.shape[3] in (None, filters)
        if detours:
            x = layers.Permute((2, 3, 1), name=f"{name}_to_last")(x)
        convolution = layers.Conv2D if groups == 1 else Conv2D
        x = convolution(
            filters,
            kernel_size,
            strides,
            padding="same" if padding == "even" else padding,
            dilation_rate=dilation,
            groups=groups,
            use_bias=use_bias,
            kernel_initializer="he_normal",
            data_format="channels_last" if detours else self.data_format,
            name=name,
        )(x)
        if detours:
            x = layers.Permute((3, 1, 2), name=f"{name}_to_first")(x)
        return x

    def depthwise(self, x, strides: int = 1, *, name: str, padding="same"):
        """Depthwise 3x3 convolution that pads as `conv` does.

        Keras counts all channels as inputs of each kernel, which has only one: He's
        initialisation is spelled out.
        """
        if strides > 1 and padding == "same":
            x = self.pad(x, 1, name.replace("_conv", "_pad"))
            padding = "valid"
        return layers.DepthwiseConv2D(
            3,
            strides,
            padding=padding,
            use_bias=False,
            depthwise_initializer=initializers.RandomNormal(0.0, 2**0.5 / 3),
            data_format=self.data_format,
            name=name,
        )(x)

    def norm(self, x, name: str, **kwargs):
        kind = BatchNormalization if self.fused else layers.BatchNormalization
        kwargs |= {"momentum": self.momentum, "epsilon": self.epsilon}
        return kind(axis=self.axis, name=name, **kwargs)(x)

    def relu(self, x, name: str):
        return layers.Activation("relu", name=name)(x)

    def conv_norm(
        self, x, filters, kernel_size=1, strides=1, *, name, scale=True, **kwargs
    ):
        x = self.conv(x, filters, kernel_size, strides, name=f"{name}_conv", **kwargs)
        return self.norm(x, f"{name}_bn", scale=scale)

    def conv_norm_relu(self, x, filters, kernel_size=1, strides=1, *, name, **kwargs):
        x = self.conv_norm(x, filters, kernel_size, strides, name=name, **kwargs)
        return self.relu(x, f"{name}_relu")

    def max_pool(self, x, pool_size: int, strides: int, name: str, padding="valid"):
        return layers.MaxPooling2D(
            pool_size, strides, padding, data_format=self.data_format, name=name
        )(x)

    def average_pool(self, x, pool_size: int, strides: int, name: str, padding="valid"):
        return layers.AveragePooling2D(
            pool_size, strides, padding, data_format=self.data_format, name=name
        )(x)

    def concatenate(self, xs: Sequence, name: str):
        return layers.Concatenate(self.axis, name=name)(xs)

    def se(self, x, stage: int, name: str):
        """Squeeze and excitation of `x`, where the row has it in this stage."""
        row = self.architecture
        if not row.has_se(stage):
            return x
        form = row.se_arguments()
        if self.squeeze_filters:
            form |= {"reduction": None, "squeeze_filters": self.squeeze_filters}
        return SqueezeExcite(**form, data_format=self.data_format, name=f"{name}_se")(x)

    def se_at(self, placement: str, x, stage: int, name: str):
        """SE, where `placement` is the row's."""
        here = placement == self.architecture.placement
        return self.se(x, stage, name) if here else x

    def drop_path(self, x, rate: float, name: str):
        """Stochastic depth (Huang et al., arXiv 1603.09382): drops whole images."""
        if not rate:
            return x
        return layers.Dropout(rate, (None, 1, 1, 1), name=f"{name}_drop")(x)

    def drop_path_rates(self, count: int) -> list[float]:
        """The rate of each of `count` residual units."""
        return [self.drop_path_rate * i / max(count - 1, 1) for i in range(count)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unit:
    """One residual unit: where it stands and what it does to the map's shape."""

    stage: int
    name: str  # the prefix of its layers' names
    filters: int  # of the stage; a bottleneck's output has four times as many
    strides: int = 1
    dilation: int = 1  # of its 3x3 convolutions up to the one that strides
    dilation_behind: int = 1  # of those behind it
    projects: bool = False  # it halves the map, or would if it did not dilate
    drop_path: float = 0.0  # its rate of stochastic depth


def projection(b: Blocks, x, unit: Unit, filters: int):
    """The identity, or a 1x1 convolution where the map's shape changes."""
    if not unit.projects and b.channels(x) == filters:
        return x
    return b.conv_norm(x, filters, 1, unit.strides, name=f"{unit.name}_0")


def residual(
    b: Blocks,
    x,
    unit: Unit,
    branch: Callable,
    shortcut: Callable,
    *,
    relu: bool = True,
    scale: float = 1.0,
    concatenate: bool = False,
):
    """Sum of a branch and a shortcut, with SE where the placement says.

    The branch is scaled before the sum (Inception-ResNet), or both are concatenated
    (ShuffleNet, where it strides); then no path can be dropped.

    Standard: on the branch before the sum; pre: on the branch's input; post: after
    the sum and its ReLU; identity: on the shortcut; 3x3: the branch's own business
    (sections 3.3 and 6.5).
    """
    stage, name = unit.stage, unit.name
    identity = b.se_at("identity", shortcut(x), stage, name)
    x = branch(b.se_at("pre", x, stage, name))
    x = b.se_at("standard", x, stage, name)
    if scale != 1:
        x = layers.Rescaling(scale, name=f"{name}_scale")(x)
    if concatenate:
        x = b.concatenate([identity, x], f"{name}_concat")
    else:
        x = b.drop_path(x, unit.drop_path, name)
        x = layers.Add(name=f"{name}_add")([identity, x])
    if relu:
        x = b.relu(x, f"{name}_out")
    return b.se_at("post", x, stage, name)


def stages(
    b: Blocks,
    x,
    block: Callable,
    *,
    blocks: Sequence[int],
    filters: Sequence[int],
    first_stage: int,
    stride: int,
    first_strides: int = 1,
):
    """Runs `block(b, x, unit)` over the stages; each but the first halves the map.

    Beyond the output stride a stage dilates instead. Its first unit still has the
    dilation of the stage before, so that each convolution sees what it saw. `stride` is
    that of `x` in pixels of the image; `blocks` and `filters` have a number for each
    stage.
    """
    rates = iter(b.drop_path_rates(sum(blocks)))
    dilation = 1
    for i, (count, width) in enumerate(zip(blocks, filters, strict=True)):
        strides, first_dilation = (first_strides if i == 0 else 2), dilation
        halves = strides > 1
        if stride * strides > b.output_stride:
            dilation, strides = dilation * strides, 1
        stride *= strides
        for j in range(count):
            unit = Unit(
                stage=first_stage + i,
                name=f"conv{first_stage + i}_block{j + 1}",
                filters=width,
                strides=strides if j == 0 else 1,
                dilation=first_dilation if j == 0 else dilation,
                dilation_behind=dilation,
                projects=halves and j == 0,
                drop_path=next(rates),
            )
            x = block(b, x, unit)
    return x
