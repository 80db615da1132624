"""Export: SavedModel, TFLite, ONNX, OpenVINO; the proof that a file is the model.

Files are written on Keras' tensorflow backend; on JAX and torch, those that Keras' own
exporters write there. `verify` and `open_runner` are on each backend.
"""

from typing import TYPE_CHECKING

import keras

from keras_senet.export.verify import Verification, VerificationError, verify
from keras_senet.opening import open_model as open_runner
from keras_senet.runners import Runner

if TYPE_CHECKING or keras.config.backend() == "tensorflow":
    from keras_senet.export.onnx import export_onnx
    from keras_senet.export.openvino import export_openvino
    from keras_senet.export.saved_model import export_saved_model
    from keras_senet.export.search import Search, search_int8
    from keras_senet.export.tflite import export_tflite
    from keras_senet.export.variants import Variant, VariantsReport, compare_variants
else:
    from keras_senet.export.through_keras import (
        export_onnx,
        export_openvino,
        export_tflite,
    )

    def __getattr__(name):
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        raise ImportError(
            f"keras_senet.export.{name} needs TensorFlow: python -m pip install "
            "tensorflow, and set KERAS_BACKEND=tensorflow"
        )


__all__ = [
    "Runner",
    "Search",
    "Variant",
    "VariantsReport",
    "Verification",
    "VerificationError",
    "compare_variants",
    "export_onnx",
    "export_openvino",
    "export_saved_model",
    "export_tflite",
    "open_runner",
    "search_int8",
    "verify",
]
