"""Where the gates of squeeze-and-excitation lie in a .tflite graph."""

from keras_senet.export._flatbuffer import Operation, graph_operations

_CONVOLUTIONS = ("CONV_2D", "FULLY_CONNECTED")


def gate_operations(model) -> list[str]:
    """Returns the names of the operations of all gates, each with its multiplication.

    Found by their form, so that folded and grafted networks have them too: a product
    of two maps, one of which came through a chain of operations, convolutions among
    them, from the other or from what that came from.

    Args:
        model: The schema's `ModelT` of a .tflite file.
    """
    operations = graph_operations(model)
    producers = {index: step for step in operations for index in step.outputs}
    found = {}
    for step in operations:
        if step.kind != "MUL" or len(step.inputs) != 2:
            continue
        left, right = step.inputs
        # Behind a folded squeeze the map has a chain of its own, a shorter one.
        chain = max(
            _chain(left, right, producers), _chain(right, left, producers), key=len
        )
        if any(part.kind in _CONVOLUTIONS for part in chain):
            found.update((part.name, None) for part in [*chain, step])
    return [step.name for step in operations if step.name in found]


def _chain(gate: int, other: int, producers: dict[int, Operation]) -> list[Operation]:
    """Returns the operations from what two tensors have in common to the first one."""
    common = _ancestors(other, producers)
    chain = []
    while gate not in common:
        step = producers.get(gate)
        if step is None or len(step.inputs) != 1:
            return []
        chain.append(step)
        gate = step.inputs[0]
    return chain


def _ancestors(index: int, producers: dict[int, Operation]) -> set[int]:
    found, waiting = set(), [index]
    while waiting:
        index = waiting.pop()
        if index not in found:
            found.add(index)
            waiting.extend(producers[index].inputs if index in producers else ())
    return found
