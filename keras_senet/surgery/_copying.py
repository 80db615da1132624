"""Copies of single layers, with the names and values of the old ones."""


def fresh(layer):
    """Returns a layer, or an operation, of the same kind, name and arguments."""
    copy = type(layer).from_config(layer.get_config())
    copy.name = layer.name
    return copy


def fill(copy, layer) -> None:
    """Gives a copied layer, once it is built, the values of the old one."""
    old, new = getattr(layer, "variables", ()), getattr(copy, "variables", ())
    if len(old) != len(new):
        raise ValueError(
            "`model` must consist of layers whose `get_config` describes them wholly. "
            f"Received: {type(layer).__name__} {layer.name!r} with {len(old)} "
            f"variables, rebuilt with {len(new)}. Correct its `get_config`."
        )
    for target, source in zip(new, old, strict=True):
        target.assign(source)
    if hasattr(copy, "finalize_state"):  # Normalization keeps values beside them.
        copy.finalize_state()


def unique_name(name: str, taken: set[str]) -> str:
    """Returns `name`, numbered where it is taken, and takes it."""
    unique, count = name, 1
    while unique in taken:
        unique, count = f"{name}_{count}", count + 1
    taken.add(unique)
    return unique
