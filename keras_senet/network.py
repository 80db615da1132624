"""A functional Keras model that knows its card."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras

from keras_senet.card import Card, Preprocessing, Row


@keras.saving.register_keras_serializable("keras_senet")
class Network(keras.Model):
    """A functional `keras.Model` with a `keras_senet.Card`.

    `save` and `load_model` (with keras_senet imported), `clone_model`, `copy.deepcopy`
    and pickle keep the card.

    Args:
        inputs: As of `keras.Model`.
        outputs: As of `keras.Model`.
        name: As of `keras.Model`.
        card: What is known about the network; by default what its graph says.

    Attributes:
        card: The card; it can be set to another one.
        architecture: The card's.
        constructor: The card's.
        labels: The card's.
        preprocessing: The card's.
    """

    def __init__(self, inputs, outputs, name=None, **kwargs):
        card = kwargs.pop("card", None) or _left_by_clone_model(outputs)
        super().__init__(inputs, outputs, name=name, **kwargs)
        if isinstance(card, Mapping):
            card = Card.parse(card, self.name)
        self._card = card or Card.seen(self)

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

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "card": self.card.to_json()}

    def _run_through_graph(self, *args, **kwargs):
        # `keras.models.clone_model` runs new layers through this graph, and makes the
        # copy out of nothing but what comes out and the name. So that is marked.
        outputs = super()._run_through_graph(*args, **kwargs)
        for tensor in keras.tree.flatten(outputs):
            if isinstance(tensor, keras.KerasTensor):
                tensor.card = self.card
        return outputs


def _left_by_clone_model(outputs):
    tensors = keras.tree.flatten(outputs)
    return getattr(tensors[0], "card", None) if tensors else None


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
