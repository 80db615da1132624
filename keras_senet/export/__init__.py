"""Export: SavedModel, TFLite, ONNX, OpenVINO; the proof that a file is the model."""

from keras_senet.export.onnx import export_onnx
from keras_senet.export.openvino import export_openvino
from keras_senet.export.saved_model import export_saved_model
from keras_senet.export.search import Search, search_int8
from keras_senet.export.tflite import export_tflite
from keras_senet.export.variants import Variant, VariantsReport, compare_variants
from keras_senet.export.verify import Verification, VerificationError, verify
from keras_senet.opening import Runner
from keras_senet.opening import open_model as open_runner

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
