"""A functional Keras model that knows its card."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import keras

from keras_senet.card import Card, Preprocessing, Row
from keras_senet.utils.copying import copied, fresh


def _as_functional(init):
    """Has Keras 3.13 read a class's configuration as a functional model's.

    It does where `__init__` shows no arguments but `*args` and `**kwargs`, as that of
    its own functional model, which is decorated, does.
    """

    @functools.wraps(init)
    def wrapper(*args, **kwargs):
        return init(*args, **kwargs)

    return wrapper


@keras.saving.register_keras_serializable("keras_senet")
class Network(keras.Model):
    """A functional `keras.Model` with a `keras_senet.Card`.

    `save` and `load_model` (with keras_senet imported), `clone_model`, `copy.deepcopy`
    and pickle keep the card. A clone with other layers, and what is saved of a network
    whose layers were changed, is no network of a constructor; its card says what the
    layers show.

    Args:
        inputs: As for `keras.Model`.
        outputs: As for `keras.Model`.
        name: As for `keras.Model`.
        card: What is known about the network. By default, what its graph shows.

    Attributes:
        card: The card. You can set another one.
        architecture: `card.architecture`.
        constructor: `card.constructor`.
        labels: `card.labels`.
        preprocessing: `card.preprocessing`.
    """

    @_as_functional
    def __init__(self, inputs, outputs, name=None, **kwargs):
        card, old = kwargs.pop("card", None), _cloned_from(outputs)
        super().__init__(inputs, outputs, name=name, **kwargs)
        if isinstance(card, Mapping):
            card = Card.parse(card, self.name)
        if card is None and old is not None:
            # As if the old one's layers had been changed to these.
            self._card, self._built_as = old.card, old._built_as
            card = Card.of(self)
        self._card, self._built_as = card or Card.seen(self), _computed(self)

    @property
    def card(self) -> Card:
        return self._card

    @card.setter
    def card(self, card: Card):
        if not isinstance(card, Card):
            raise ValueError(
                f"`card` must be a keras_senet.Card. Received: card={card!r}"
            )
        self._card = card

    def checked_card(self) -> Card:
        """Returns the card, without a constructor if a layer was changed after it."""
        if _computed(self) == self._built_as:
            return self._card
        made = {"constructor": None, "architecture": None, "preset": None}
        return dataclasses.replace(self._card, **made)

    @property
    def architecture(self) -> Row | None:
        return self.card.architecture

    @property
    def constructor(self) -> str | None:
        return self.card.constructor

    @property
    def labels(self) -> tuple[str, ...] | None:
        return self.card.labels

    @property
    def preprocessing(self) -> Preprocessing | None:
        return self.card.preprocessing

    @preprocessing.setter
    def preprocessing(self, record: Preprocessing | None):
        self.card = dataclasses.replace(self.card, preprocessing=record)

    def save(self, filepath, *args, **kwargs) -> None:
        """Saves the model, see `keras.Model.save`; Keras' old HDF5 format is refused.

        Keras writes only the name of a class there, and finds no registered one by it.

        Raises:
            ValueError: If the file's name ends in ".h5" or ".hdf5".
        """
        if str(filepath).endswith((".h5", ".hdf5")):
            raise ValueError(
                "A network is saved as a .keras file, and its weights by "
                "keras_senet.weights.save_weights. Received: "
                f"filepath={str(filepath)!r}, of the old format, which Keras could not "
                "load again."
            )
        super().save(filepath, *args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "card": self.checked_card().to_json()}

    def _run_through_graph(self, *args, **kwargs):
        # `keras.models.clone_model` runs new layers through this graph, and makes the
        # copy out of nothing but what comes out and the name. So that is marked.
        outputs = super()._run_through_graph(*args, **kwargs)
        for tensor in keras.tree.flatten(outputs):
            if isinstance(tensor, keras.KerasTensor):
                tensor.network = self
        return outputs


@keras.saving.register_keras_serializable("keras_senet")
class Features(Network):
    """The last maps of a network's stages: what `keras_senet.features` returns.

    A functional model of a dictionary of maps. It is a backbone as the detectors and
    segmenters of KerasHub take one, and is saved and loaded as any Keras model.

    Args:
        inputs: The images.
        outputs: "P2" -> the map at stride 4, and so on.
        name: As of `keras.Model`.
        **kwargs: `dtype`, a dtype policy that all layers get, in copies with the same
            values; by default the layers stay. `card` as of `Network`.
    """

    token_embedding = None  # KerasHub's test of a backbone asks for one of texts.

    @_as_functional
    def __init__(self, inputs, outputs, name=None, **kwargs):
        dtype = kwargs.pop("dtype", None)
        if dtype is not None:
            inputs, outputs = copied(
                keras.Model(inputs, outputs), make=functools.partial(fresh, dtype=dtype)
            )
        super().__init__(inputs, outputs, name=name, **kwargs)
        last = keras.tree.flatten(self.output)[-1]._keras_history.operation
        self.dtype_policy = dtype or getattr(last, "dtype_policy", self.dtype_policy)

    @classmethod
    def from_config(cls, config, custom_objects=None):
        # Keras takes out of the dictionary what it reads.
        return super().from_config(dict(config), custom_objects)

    @property
    def pyramid_outputs(self) -> dict[str, keras.KerasTensor]:
        """The symbolic maps by name, the first one the largest."""
        return dict(self.output)

    @property
    def image_shape(self) -> tuple[int | None, ...]:
        """The shape of an image, without the batch axis."""
        return tuple(self.inputs[0].shape[1:])


def _cloned_from(outputs):
    """Returns the network that `clone_model` copies, and takes the marks away."""
    found = [
        vars(tensor).pop("network", None) for tensor in keras.tree.flatten(outputs)
    ]
    return next(filter(None, found), None)


# Arguments that inference does not see, or that are of Keras' own changes of weights.
_UNSEEN_ENDS = ("dtype", "trainable", "_initializer", "_regularizer", "_constraint")
_UNSEEN = {"momentum", "rate", "seed", "synchronized"}
_UNSEEN |= {"lora_rank", "lora_alpha", "quantization_config"}


def _computed(model) -> int | None:
    """Returns a number for what all layers compute: their classes and arguments.

    The activation of the outputs is left out, which the card's `outputs` says. None if
    a layer cannot tell its arguments.
    """
    ends = {id(t._keras_history.operation) for t in keras.tree.flatten(model.output)}
    found = []
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        try:
            config = layer.get_config()
        except NotImplementedError:
            return None
        unseen = _UNSEEN | ({"activation"} if id(layer) in ends else set())
        names = [n for n in config if n not in unseen and not n.endswith(_UNSEEN_ENDS)]
        found.append((type(layer), [(name, config[name]) for name in names]))
    return hash(repr(found))


def with_card(model: keras.Model, card: Card) -> keras.Model:
    """Gives a functional model a card.

    Args:
        model: The model.
        card: Its card.

    Returns:
        A `Network` of the same layers. A model that consists of Keras' own layers
        alone stays a `keras.Model`, so that Keras loads its file without this package;
        its `card` is an attribute, which Keras' own saving does not keep.
    """
    if any(type(layer).__module__.startswith("keras_senet") for layer in model.layers):
        return Network(model.input, model.output, name=model.name, card=card)
    model.card = card
    return model


def derived(model: keras.Model, old: keras.Model, **changes: Any) -> keras.Model:
    """Gives a model that was made of another one that one's card, with changes."""
    return with_card(model, dataclasses.replace(Card.of(old), **changes))
