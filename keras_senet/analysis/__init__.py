"""Analysis of any Keras model: what it costs, and what its gates do."""

from keras_senet.analysis.class_activation import class_activation, overlay
from keras_senet.analysis.complexity import Complexity, LayerComplexity, complexity
from keras_senet.analysis.excitation import (
    Excitation,
    LayerExcitation,
    excitation_statistics,
    mean_gates,
)
from keras_senet.analysis.removal import Removal, Trial, removal_accuracy
from keras_senet.analysis.report import write_report

__all__ = [
    "Complexity",
    "Excitation",
    "LayerComplexity",
    "LayerExcitation",
    "Removal",
    "Trial",
    "class_activation",
    "complexity",
    "excitation_statistics",
    "mean_gates",
    "overlay",
    "removal_accuracy",
    "write_report",
]
