"""What comes before the network: options, the input, the image's normalisation."""

import keras
from keras import layers, ops

from keras_senet.preprocessing import along
from keras_senet.utils import graph
from keras_senet.weights import Preprocessing


def check_options(family, options) -> None:
    """Raises a ValueError for an option that is out of range."""
    if options.pooling not in (None, "avg", "max"):
        raise ValueError(
            "`pooling` must be None, 'avg' or 'max'. "
            f"Received: pooling={options.pooling!r}"
        )
    if options.data_format not in ("channels_last", "channels_first"):
        raise ValueError(
            "`data_format` must be 'channels_last', 'channels_first' or None. "
            f"Received: data_format={options.data_format!r}"
        )
    for name in ("dropout_rate", "drop_path_rate"):
        rate = getattr(options, name)
        if not 0 <= rate < 1:
            raise ValueError(
                f"`{name}` must be at least 0 and below 1. Received: {name}={rate!r}"
            )
    if options.drop_path_rate and not family.drops_paths:
        raise ValueError(
            "`drop_path_rate` needs residual branches, which this network does not "
            f"have. Received: drop_path_rate={options.drop_path_rate!r}"
        )
    if options.output_stride not in ((None, 8, 16, 32) if family.dilates else (None,)):
        accepted = "8, 16 or 32" if family.dilates else "None: only ResNets dilate"
        raise ValueError(
            f"`output_stride` must be {accepted}. "
            f"Received: output_stride={options.output_stride!r}"
        )


def image_input(family, options, checkpoint):
    """Returns the tensor the network starts from, and the model's inputs."""
    tensor = options.input_tensor
    if tensor is not None and keras.backend.is_keras_tensor(tensor):
        _check_shape(family, options, tuple(tensor.shape[1:]))
        sources = keras.utils.get_source_inputs(tensor)
        return tensor, sources[0] if len(sources) == 1 else sources
    if tensor is not None:
        inputs = layers.Input(tensor=tensor, name="input")
        _check_shape(family, options, tuple(inputs.shape[1:]))
        return inputs, inputs
    shape = options.input_shape or _default_shape(family, options, checkpoint)
    shape = _check_shape(family, options, shape)
    inputs = layers.Input(shape, name="input")
    return inputs, inputs


def _default_shape(family, options, checkpoint):
    """The checkpoint's image, else the family's; without a top any size will do."""
    size, channels = (family.image_size,) * 2, 3
    if checkpoint is not None:
        channels = checkpoint.channels or channels
        card = checkpoint.card
        if card.input_shape is not None:
            first = card.input_shape[-1] != channels
            size = card.input_shape[1:] if first else card.input_shape[:2]
        elif card.preprocessing is not None:
            size = (card.preprocessing.image_size,) * 2
    if not options.include_top:
        size = (None, None)
    if options.data_format == "channels_first":
        return (channels, *size)
    return (*size, channels)


def _check_shape(family, options, shape):
    first = options.data_format == "channels_first"
    axes = "(channels, height, width)" if first else "(height, width, channels)"
    received = f"Received: input_shape={shape!r}"
    if len(shape) != 3:
        raise ValueError(f"`input_shape` must be {axes}. {received}")
    shape = tuple(None if n is None else int(n) for n in shape)
    channels, sizes = (shape[0], shape[1:]) if first else (shape[2], shape[:2])
    if channels is None or channels < 1:
        raise ValueError(
            f"`input_shape` must be {axes} with a known number of channels. {received}"
        )
    if any(size is not None and size < family.min_size for size in sizes):
        raise ValueError(
            f"`input_shape` must be {axes}, at least {family.min_size} pixels high "
            f"and wide. {received} with data_format={options.data_format!r}"
        )
    if family.flattens and options.include_top and None in sizes:
        raise ValueError(
            "`input_shape` must have a known height and width with include_top=True: "
            f"the top flattens the last map. {received}"
        )
    return shape


def normalise(x, family, options, checkpoint):
    """Puts the normalisation of raw RGB 0..255 images into the graph, if asked to."""
    wanted = options.include_preprocessing
    if wanted is False:
        return x, None
    if wanted is True:
        stored = None if checkpoint is None else checkpoint.card.preprocessing
        record = stored or family.preprocessing
    elif isinstance(wanted, Preprocessing):
        record = wanted
    else:
        raise ValueError(
            "`include_preprocessing` must be True, False or a Preprocessing record. "
            f"Received: include_preprocessing={wanted!r}"
        )
    axis = -3 if options.data_format == "channels_first" else -1
    if len(record.mean) not in (1, x.shape[axis]):
        raise ValueError(
            f"The preprocessing must have one mean and deviation for each of the "
            f"{x.shape[axis]} channels. Received: mean={record.mean}, std={record.std}"
        )
    if record.channel_order == "BGR":
        x = graph.named(ops.flip(x, axis), "preprocessing_reversed")
    # With all three axes given, Rescaling does not look at the global data format.
    scale, offset = along(record, axis)
    x = layers.Rescaling(scale.tolist(), offset.tolist(), name="preprocessing")(x)
    return x, record
