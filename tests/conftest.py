"""What the tests of several families share."""

import os

# On processors where TensorFlow leaves oneDNN off, its CPU kernels know neither
# channels_first nor the gradient of grouped convolutions.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import hypothesis
import keras
import numpy as np
import pytest


def pytest_configure(config):
    """Few examples, always the same; with `pytest -m faults` many.

    `--hypothesis-seed=N` draws others.
    """
    hypothesis.settings.register_profile(
        "ours",
        derandomize=config.getoption("hypothesis_seed", None) is None,
        max_examples=300 if config.getoption("markexpr") == "faults" else 20,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.settings.load_profile("ours")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """What asks for a newer Keras than there is, is skipped, in a fixture too."""
    try:
        return (yield)
    except ImportError as error:
        if "needs Keras 3.15 or later. This is" in str(error):
            pytest.skip(str(error))
        raise


pytest_runtest_setup = pytest_runtest_call


@pytest.fixture
def shell(capsys):
    """Runs a command; returns its exit code, output and error output."""
    from keras_senet.cli import main

    def call(*words):
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def small_file(tmp_path, randomize):
    """Saves a small network that guesses classes, by default the ten bundled ones."""
    from conformance import cases

    def save(classes=10):
        options = {"input_shape": (28, 28, 3), "include_preprocessing": True}
        network = randomize(cases.build("small", classes=classes, **options))
        network.save(tmp_path / "model.keras")
        return tmp_path / "model.keras"

    return save


@pytest.fixture
def randomize():
    """Gives a model weights and statistics in which nothing is zero or one.

    With a gain of 2, He's, each map's values are as large as the image's, and in a deep
    network small differences of the image become large ones; with 1 they do not.
    """

    def apply(model, seed=0, gain=2):
        rng = np.random.default_rng(seed)
        for variable in model.variables:
            shape, name = variable.shape, variable.path.rsplit("/")[-1]
            if "kernel" in name:
                # A last axis of 1 is a depthwise kernel's.
                inputs = np.prod(shape[:2] if shape[-1] == 1 else shape[:-1])
                value = rng.standard_normal(shape, "float32") * (gain / inputs) ** 0.5
            elif name in ("gamma", "moving_variance"):
                value = rng.uniform(0.5, 1.5, shape)
            elif name in ("beta", "bias", "moving_mean"):
                value = rng.normal(0, 0.3, shape)
            else:
                continue
            variable.assign(value)
        return model

    return apply


@pytest.fixture
def images():
    """Makes images of a shape, different in each channel and corner."""

    def make(*shape, seed=1):
        return np.random.default_rng(seed).normal(0, 1, shape).astype("float32")

    return make


@pytest.fixture
def relative_error():
    """max|a - b| / max|b|."""

    def compute(a, b):
        a, b = keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b)
        if a.shape != b.shape:
            raise AssertionError(f"{a.shape} is not {b.shape}")
        return float(np.max(np.abs(a - b)) / np.max(np.abs(b)))

    return compute


@pytest.fixture
def trainable():
    """Counts the values of a model's trainable weights."""

    def count(model):
        return sum(int(np.prod(v.shape)) for v in model.trainable_variables)

    return count


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub on this machine, its cache in the test's folder."""
    pytest.importorskip("huggingface_hub")
    import hub_server
    from huggingface_hub import constants

    with hub_server.running() as running:
        template = running.url + "/{repo_id}/resolve/{revision}/{filename}"
        # The environment's variables are read once, when the package is imported.
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield running
