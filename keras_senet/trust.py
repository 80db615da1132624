"""What the program in a SavedModel may do before somebody trusts it: only compute."""

import collections
import os
from pathlib import Path

# Of tensors other tensors, without files, network, processes or Python.
_NAMES = """
Abs Acos Acosh Add AddN AddV2 Asin Asinh Atan Atan2 Atanh BiasAdd BitwiseAnd BitwiseOr
BitwiseXor Ceil ClipByValue Cos Cosh Cumprod Cumsum Digamma Div DivNoNan Elu Equal Erf
Erfc Erfinv Exp Expm1 Floor FloorDiv FloorMod Greater GreaterEqual Inv Invert IsFinite
IsInf IsNan LeakyRelu LeftShift Less LessEqual Lgamma Log Log1p LogSoftmax LogicalAnd
LogicalNot LogicalOr Maximum Minimum Mod Mul MulNoNan Neg NextAfter NotEqual Pow RealDiv
Reciprocal Relu Relu6 RightShift Rint Round Rsqrt Select SelectV2 Selu Sigmoid Sign Sin
Sinh Softmax Softplus Softsign Sqrt Square SquaredDifference Sub Tan Tanh TruncateDiv
TruncateMod Xdivy Xlog1py Xlogy

All Any ArgMax ArgMin Bincount Bucketize DenseBincount EuclideanNorm InTopK InTopKV2
L2Loss Max Mean Min Prod SegmentMax SegmentMean SegmentMin SegmentProd SegmentSum Sum
TopK TopKV2 UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentProd UnsortedSegmentSum

AvgPool AvgPool3D BatchMatMul BatchMatMulV2 BatchMatMulV3 Conv Conv2D
Conv2DBackpropInput Conv2DBackpropInputV2 Conv3D Conv3DBackpropInputV2
DepthwiseConv2dNative Dilation2D Einsum FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3
LRN MatMul MaxPool MaxPool3D MaxPoolV2 MaxPoolWithArgmax

Dequantize FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars
FakeQuantWithMinMaxVarsPerChannel QuantizeAndDequantizeV2 QuantizeAndDequantizeV3
QuantizeAndDequantizeV4 QuantizeV2

BatchToSpaceND Bitcast BroadcastArgs BroadcastTo Cast Concat ConcatOffset ConcatV2 Const
DepthToSpace Diag DiagPart DynamicPartition DynamicStitch EnsureShape ExpandDims Fill
Gather GatherNd GatherV2 Identity IdentityN InvertPermutation LinSpace ListDiff
MatrixBandPart MatrixDiag MatrixDiagPart MatrixDiagPartV3 MatrixDiagV3 MatrixSetDiagV3
MirrorPad OneHot OnesLike Pack Pad PadV2 ParallelConcat ParallelDynamicStitch
PreventGradient Range Rank Reshape Reverse ReverseSequence ReverseV2 Roll ScatterNd
Shape ShapeN Size Slice SpaceToBatchND SpaceToDepth Split SplitV Squeeze StopGradient
StridedSlice TensorScatterAdd TensorScatterMax TensorScatterMin TensorScatterSub
TensorScatterUpdate TensorStridedSliceUpdate Tile Transpose Unique UniqueV2
UniqueWithCountsV2 Unpack UnravelIndex Where ZerosLike

EmptyTensorList TensorListConcatV2 TensorListElementShape TensorListFromTensor
TensorListGather TensorListGetItem TensorListLength TensorListPopBack TensorListPushBack
TensorListReserve TensorListResize TensorListScatterV2 TensorListSetItem TensorListStack
TensorArrayCloseV3 TensorArrayConcatV3 TensorArrayGatherV3 TensorArrayReadV3
TensorArrayScatterV3 TensorArraySizeV3 TensorArrayV3 TensorArrayWriteV3

AdjustContrastv2 AdjustHue AdjustSaturation CombinedNonMaxSuppression CropAndResize
DecodeAndCropJpeg DecodeBmp DecodeGif DecodeImage DecodeJpeg DecodePng DecodeWebP
ExtractImagePatches ExtractJpegShape HSVToRGB ImageProjectiveTransformV2
ImageProjectiveTransformV3 NonMaxSuppression NonMaxSuppressionV2 NonMaxSuppressionV3
NonMaxSuppressionV4 NonMaxSuppressionV5 RGBToHSV ResizeArea ResizeBicubic ResizeBilinear
ResizeNearestNeighbor ScaleAndTranslate

AsString DecodeBase64 DecodeRaw EncodeBase64 RegexFullMatch RegexReplace
StaticRegexFullMatch StaticRegexReplace StringFormat StringJoin StringLength StringLower
StringSplitV2 StringStrip StringToNumber StringUpper Substr

RandomStandardNormal RandomUniform RandomUniformInt StatelessRandomGetAlg
StatelessRandomGetKeyCounter StatelessRandomNormalV2 StatelessRandomUniform
StatelessRandomUniformFullIntV2 StatelessRandomUniformIntV2 StatelessRandomUniformV2
StatelessTruncatedNormalV2 TruncatedNormal

Assert Case FakeParam If NoOp PartitionedCall Placeholder PlaceholderWithDefault
StatefulPartitionedCall StatelessCase StatelessIf StatelessWhile While

AssignAddVariableOp AssignSubVariableOp AssignVariableOp DisableCopyOnRead HashTableV2
LookupTableExportV2 LookupTableFindV2 LookupTableImportV2 LookupTableSizeV2
ReadVariableOp ResourceGather VarHandleOp VarIsInitializedOp

BatchDatasetV2 ConcatenateDataset DatasetToSingleElement IgnoreErrorsDataset
ParallelMapDatasetV2 RangeDataset RewriteDataset TensorDataset TensorSliceDataset
ZipDataset
"""
_COMPUTE = frozenset(_NAMES.split())
# Functions that write and read the variables; TensorFlow 2 does not call them.
_SAVER = frozenset({"MergeV2Checkpoints", "RestoreV2", "SaveV2", "ShardedFilename"})


def foreign_operations(folder: str | os.PathLike) -> list[str]:
    """Returns the operations of a SavedModel that may do more than compute, by name.

    Nothing of it is run.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no SavedModel.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    content = (Path(folder) / "saved_model.pb").read_bytes()
    try:
        graphs = saved_model_pb2.SavedModel.FromString(content).meta_graphs
    except DecodeError as error:
        raise ValueError(str(error)) from None
    foreign = set()
    for graph in graphs:
        bodies, top = collections.defaultdict(list), graph.graph_def.node
        for function in graph.graph_def.library.function:
            bodies[function.signature.name] += function.node_def
        # TensorFlow 2 runs what the objects name, TensorFlow 1 the graph at the top.
        is_modern = len(graphs) == 1 and graph.HasField("object_graph_def")
        saving = _reached(top, bodies) if is_modern else set()
        run = {*bodies} - saving | {*graph.object_graph_def.concrete_functions}
        run |= _reached((node for name in run for node in bodies.get(name, ())), bodies)
        parts = [(top, is_modern), *((bodies[n], n not in run) for n in bodies)]
        for nodes, is_idle in parts:
            known = _COMPUTE | _SAVER if is_idle else _COMPUTE
            foreign |= {node.op for node in nodes} - known
    return sorted(foreign)


def _reached(nodes, bodies) -> set[str]:
    """Returns the names of the functions that nodes call, and those call, and so on."""
    reached, left = set(), list(nodes)
    while left:
        for value in left.pop().attr.values():
            for called in (value.func, *value.list.func):
                if called.name in bodies and called.name not in reached:
                    reached.add(called.name)
                    left += bodies[called.name]
    return reached
