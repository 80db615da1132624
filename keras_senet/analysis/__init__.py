"""Analysis of any Keras model: what it costs."""

from keras_senet.analysis.complexity import Complexity, LayerComplexity, complexity

__all__ = ["Complexity", "LayerComplexity", "complexity"]
