"""Docstrings of constructors, which are made, not written."""

import textwrap

_TEMPLATE = """\
{name}, or its plain host with `se=False`.

{paper}

The arguments up to `name` are those of `keras.applications`. An architecture argument
that is None is the checkpoint's value, else the default.

Args:
    include_top: Whether the classifier is part of the network.
    weights: None, a tag or preset (`keras_senet.list_weights({network!r})`), or a
        path to a weights file. The file's architecture is the network's.
    input_tensor: A tensor to use as the network's input.
    input_shape: Shape of an image, by default {size} pixels and 3 channels; at least
        {min_size} pixels. The sizes may be None without a top.
    pooling: None, "avg" or "max": what ends the network without a top.
    classes: Number of classes, by default the checkpoint's or {classes}.
    classifier_activation: Activation of the top; None returns the logits.
    name: The model's name.
    se: Whether the network has SE.
    reduction: The paper's r, by default 16.
    squeeze: "avg", "max" or "none".
    gate: Any Keras activation, by default "sigmoid".
    se_bias: Whether SE's convolutions have biases.
    identity_start: Whether SE starts as the exact identity.
    placement: "standard", "pre", "post", "identity" or "3x3" (section 6.5).
    se_stages: "all" or a tuple of stages out of {stages}.
    stride_on: "3x3" or "1x1": what strides in a bottleneck.
    stem: "7x7", or "deep": three 3x3 convolutions.
    stem_pool: "padded" on all sides, or "ceil" (the released networks').
    shortcut: "1x1"; "avg": average pool and 1x1; "3x3".
    divisor: SE's width is rounded to a multiple of this.
    dropout_rate: Rate of dropout before the classifier.
    drop_path_rate: Rate of stochastic depth in the last residual unit.
    include_preprocessing: Whether the network takes raw RGB 0..255 images: True puts
        the checkpoint's normalisation into the graph, a `Preprocessing` its own.
    output_stride: 8 or 16 let the last stages dilate instead of striding.
    data_format: "channels_last" or "channels_first"; None is Keras' setting.
    fused: Whether batch normalisation, and the gradient of SE behind it, run in
        TensorFlow's fused kernels: faster, the same to rounding, but without second
        derivatives of SE, and in training the gradient with respect to the output
        between the two is None. False is Keras' own everywhere, as on other backends.

Returns:
    A functional `keras.Model` with two more attributes, `architecture` (the row of
    the values above) and `constructor` ({network!r}).

Raises:
    ValueError: If an argument is out of range, makes no sense in this family, or
        contradicts the checkpoint.
"""


def constructor_docstring(name, network, family, row) -> str:
    """Returns the docstring of one constructor."""
    about = ", ".join(f"{key} {value}" for key, value in row.items())
    return _TEMPLATE.format(
        name=name,
        paper=textwrap.fill(
            f"Hu et al., arXiv 1709.01507.{f' Its row: {about}.' if about else ''}", 88
        ),
        network=network,
        size=family.image_size,
        min_size=family.min_size,
        classes=family.classes,
        stages=family.architecture.stages,
    )
