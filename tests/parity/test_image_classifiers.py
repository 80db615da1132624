"""image-classifiers' networks with the released stem pool: same .h5, same logits.

Its own code builds the networks on Keras 3; `_references` says what is replaced.
"""

import keras
import pytest

import keras_senet
from keras_senet.models import network_of
from keras_senet.weights import read_checkpoint

NETWORKS = {
    "seresnet50": "se_resnet50",
    "seresnet101": "se_resnet101",
    "seresnet152": "se_resnet152",
    "seresnext50": "se_resnext50",
    "seresnext101": "se_resnext101",
    "senet154": "senet154",
}


def logits(path, name, images, **kwargs):
    model = keras_senet.create_model(
        NETWORKS[name],
        weights=path,
        input_shape=images.shape[1:],
        classifier_activation=None,
        **kwargs,
    )
    return keras.ops.convert_to_numpy(model(images))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_logits(name, images, tmp_path, report):
    import _references
    import legacy_h5

    keras.utils.clear_session()
    x = images(64, 95)
    network = _references.image_classifiers_network(name, input_shape=x.shape[1:])
    path = tmp_path / f"{name}_imagenet_1000.h5"
    legacy_h5.write(network, path)
    error = _references.relative_error(
        logits(path, name, x), _references.keras_logits(network, x)
    )
    report("image_classifiers", name, error)
    # The same network up to its last map, as the files without top have it.
    pool = next(x for x in reversed(network.layers) if "global_average" in x.name)
    body = keras.Model(network.inputs[0], pool.input)
    no_top = tmp_path / f"{name}_imagenet_1000_no_top.h5"
    legacy_h5.write(body, no_top, order="shuffled")
    without_top = _references.relative_error(
        logits(no_top, name, x, include_top=False),
        keras.ops.convert_to_numpy(body(x)),
    )
    report("image_classifiers", f"{name}_no_top", without_top)
    checkpoint = read_checkpoint(path)
    assert network_of(checkpoint.card) == NETWORKS[name]
    assert checkpoint.card.architecture["stem_pool"] == "ceil"
    assert max(error, without_top) < (1e-5 if name.endswith("50") else 2e-5)


@pytest.mark.parametrize("order", ["graph", "creation", "reversed", "shuffled"])
@pytest.mark.parametrize("whole", [False, True])
def test_orders_of_several_keras(order, whole, images, tmp_path):
    import _references
    import legacy_h5

    x = images(64, 64)
    network = _references.image_classifiers_network(
        "seresnext50", input_shape=x.shape[1:], include_top=False
    )
    path = tmp_path / "seresnext50_imagenet_1000_no_top.h5"
    legacy_h5.write(network, path, order=order, whole=whole)
    ours = logits(path, "seresnext50", x, include_top=False)
    theirs = keras.ops.convert_to_numpy(network(x))
    assert _references.relative_error(ours, theirs) < 1e-5


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_file_of_keras_own_writer(images, tmp_path):
    import _references

    x = images(64, 64)
    network = _references.image_classifiers_network(
        "seresnet50", input_shape=x.shape[1:], classes=10
    )
    path = tmp_path / "model.h5"
    network.save(path)
    assert (
        _references.relative_error(
            logits(path, "seresnet50", x), _references.keras_logits(network, x)
        )
        < 1e-5
    )


def test_preactivated_network_is_refused(tmp_path):
    import _references
    import legacy_h5
    from classification_models.models import resnet

    network = resnet.SEResNet18(
        input_shape=(64, 64, 3),
        backend=_references._BACKEND,
        layers=keras.layers,
        models=keras.models,
        utils=keras.utils,
    )
    path = tmp_path / "seresnet18_imagenet_1000.h5"
    legacy_h5.write(network, path)
    with pytest.raises(ValueError, match="pre-activation networks"):
        keras_senet.SEResNet18(weights=path)
