"""Names of tensors as the converter writes them, and as people read them."""

from keras_senet.utils.flatbuffer import schema, shorten_names


def _model(operators, names):
    """A model of operators (inputs, outputs) between tensors of these names."""
    types = schema()
    graph = types.SubGraphT()
    graph.tensors = [types.TensorT() for _ in names]
    for tensor, name in zip(graph.tensors, names, strict=True):
        tensor.name, tensor.buffer = name, 0
    graph.operators = [types.OperatorT() for _ in operators]
    for operator, (inputs, outputs) in zip(graph.operators, operators, strict=True):
        operator.inputs, operator.outputs = inputs, outputs
    model = types.ModelT()
    model.subgraphs, model.buffers = [graph], [types.BufferT()]
    return model


def test_a_list_that_ends_in_a_semicolon_leaves_no_name_empty():
    names = [b"images", b"fc1/Relu;fc1/convolution;", b"", b";"]
    model = _model([((0,), (1,)), ((1,), (2,)), ((2,), (3,))], names)
    shorten_names(model)
    found = [tensor.name for tensor in model.subgraphs[0].tensors]
    assert found[:2] == [b"images", b"fc1"]
    assert all(found)
    assert len(set(found)) == 4
