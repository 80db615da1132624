import dataclasses
import os
import sys
import typing
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_senet
from keras_senet.benchmark import children, forms, networks, parts, running
from keras_senet.benchmark.forms import FORMS, Form, training_step
from keras_senet.benchmark.machine import peak_memory
from keras_senet.benchmark.networks import FAMILIES, NETWORKS, randomize
from keras_senet.benchmark.parts import PARTS, PartName, Subject
from keras_senet.benchmark.peers import MissingPeer
from keras_senet.benchmark.running import Options, measure_memory, run_part

TOY = Options(threads=1, toy=True, rounds=1)


def test_every_row_names_a_network_and_a_form():
    assert set(typing.get_args(PartName)) == set(PARTS)
    for part in PARTS.values():
        for group in part.groups:
            names = [subject.name for subject in group.subjects]
            assert len(set(names)) == len(names)
            for subject in group.subjects:
                assert subject.network in NETWORKS
                assert subject.form in FORMS
    assert set(FAMILIES) <= set(keras_senet.list_models())


def test_like_for_like(monkeypatch):
    """What a row builds in full size, without building it."""
    built = []

    def record(name, **arguments):
        built.append((name, arguments))
        return keras.Sequential([keras.Input((4,))])

    monkeypatch.setattr(networks, "create_model", record)
    for name in ("se_resnet50", "plain_resnet50", "se_resnet50_unfused"):
        NETWORKS[name].build(False)
    NETWORKS["se_resnet50_default"].build(False)
    common = {"weights": None, "stride_on": "1x1"}
    assert built == [
        ("se_resnet50", common),
        ("se_resnet50", {**common, "se": False}),
        ("se_resnet50", {**common, "fused": False}),
        ("se_resnet50", {"weights": None}),
    ]
    assert {NETWORKS[n].image_shape(toy=False) for n in NETWORKS if "/" not in n} == {
        (224, 224, 3)
    }


def test_weights_are_random_and_the_same_each_time():
    first, second = (
        randomize(keras_senet.SEResNet20(weights=None, input_shape=(8, 8, 3)))
        for _ in range(2)
    )
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.ptp(a) > 0 or a.size == 1
        assert np.isfinite(a).all()


def test_forms_of_a_network_agree_and_are_timed():
    options = dataclasses.replace(TOY, only="SEResNet50, *", rounds=3)
    lines = []
    result = run_part("inference", options, lines.append)
    names = {m.subject for m in result.measurements}
    assert names == {
        "SEResNet50, in memory",
        "SEResNet50, folded in memory",
        "SEResNet50, exported without folding",
        "SEResNet50, exported",
        "SEResNet50, default form, folded in memory",
        "SEResNet50, default form, exported",
    }
    assert {m.batch for m in result.measurements} == {1, 8}
    assert all(len(m.samples) == 3 for m in result.measurements)
    assert all(min(m.samples) > 0 for m in result.measurements)
    # Each is prepared once for both batches.
    assert sum(line.startswith("preparing") for line in lines) == 6
    assert result.versions["keras"] == keras.__version__


def _fake(monkeypatch, **answers):
    for name, answer in answers.items():
        form = Form(open=lambda network, threads, a=answer: lambda images: lambda: a)
        monkeypatch.setitem(FORMS, name, form)


def _run(monkeypatch, *forms, network="toy"):
    subjects = tuple(Subject(name=f, network=network, form=f) for f in forms)
    group = parts.Group(subjects=subjects, batch=1)
    part = parts.Part(title="fake", groups=(group,), rounds=2)
    monkeypatch.setitem(PARTS, "inference", part)
    return run_part("inference", TOY)


@pytest.fixture
def toy_network(monkeypatch):
    row = networks.Network(build=lambda toy: None)
    monkeypatch.setitem(NETWORKS, "toy", row)


@pytest.mark.parametrize("wrong", [1.01, np.nan])
def test_forms_that_differ_are_an_error(monkeypatch, toy_network, wrong):
    _fake(monkeypatch, a=np.array([1.0, 0.5]), b=np.array([wrong, 0.5]))
    with pytest.raises(RuntimeError, match="'b' and 'a' must compute the same"):
        _run(monkeypatch, "a", "b")
    _fake(monkeypatch, b=np.array([1.0, 0.5001]))
    assert len(_run(monkeypatch, "a", "b").measurements) == 2


def test_a_peer_that_is_not_there_is_skipped(monkeypatch, toy_network):
    def missing(toy):
        raise MissingPeer("python -m pip install it")

    monkeypatch.setitem(NETWORKS, "peer", networks.Network(build=missing))
    _fake(monkeypatch, a=np.ones(2))
    result = _run(monkeypatch, "a", network="peer")
    assert result.skipped == {"a": "python -m pip install it"}
    assert result.measurements == ()


def test_training_step_learns_and_stops_at_nan():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Flatten(),
            keras.layers.Dense(5, activation="softmax"),
        ]
    )
    kernel = model.layers[-1].kernel.numpy()
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    call = training_step(model)(images)
    first = call()
    assert np.any(model.layers[-1].kernel.numpy() != kernel)
    for _ in range(20):
        last = call()
    assert last < first
    assert not model.jit_compile
    assert model.optimizer.momentum == 0.9
    with pytest.raises(FloatingPointError, match="must stay finite"):
        training_step(model)(images * np.nan)()


def test_kernels_shrink_exactly():
    result = run_part("kernels", TOY)
    for name, share in (("SEResNet50", 0.625), ("SEResNeXt50 32x4d", 0.75)):
        assert result.ratio(f"{name}, folded", name, 1).value == share
    # (2 / r) C^2 over four blocks of 64, 64, 128 and 128 channels, r = 4.
    assert result.find("SEResNet50", 1).samples == (2 / 4 * 2 * (64**2 + 128**2),)


def test_a_pattern_that_fits_nothing_is_refused():
    with pytest.raises(ValueError, match=r"plain host, float32.*only='x'"):
        run_part("litert", dataclasses.replace(TOY, only="x"))
    with pytest.raises(ValueError, match="rounds=0"):
        dataclasses.replace(TOY, rounds=0)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_is_at_least_what_is_resident():
    array = np.ones(100_000_000 // 8)  # in memory, so that the share is a real one
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    resident = pages * os.sysconf("SC_PAGE_SIZE")
    assert array.nbytes < 0.95 * resident < peak_memory() < 20 * resident


def test_memory_of_a_training_step_in_a_child(monkeypatch):
    asked = []

    def call(task, arguments, *, threads):
        asked.append((task, arguments["subject"]["name"], arguments["batch"]))
        return {"bytes": 1000 * len(asked)}

    monkeypatch.setattr(running.children, "call", call)
    options = dataclasses.replace(TOY, only="*host", rounds=2)
    result = run_part("memory", options)
    assert asked == [("memory", "plain host", 16)] * 2
    assert result.find("plain host", 16).samples == (1000.0, 2000.0)


def test_steps_raise_the_peak(monkeypatch):
    peaks = iter([100, 350])
    monkeypatch.setattr(running, "peak_memory", lambda: next(peaks))
    calls = []
    form = Form(open=lambda network, threads: lambda images: lambda: calls.append(1))
    monkeypatch.setitem(FORMS, "training", form)
    monkeypatch.setitem(NETWORKS, "toy", networks.Network(build=lambda toy: None))
    subject = Subject(name="a", network="toy", form="training")
    assert measure_memory(subject, batch=2, threads=1, toy=True) == 250
    assert len(calls) == 3


def test_a_child_answers_and_its_failure_has_a_reason():
    lines = []
    arguments = {"name": "kernels", "toy": True, "only": "SEResNet50"}
    answer = children.call("part", arguments, threads=1, progress=lines.append)
    assert answer["measurements"][0]["samples"] == [20480.0]
    assert lines == ["counting SEResNet50"]
    with pytest.raises(children.ChildError, match=r"no-such-part.*\(exit code 1\)"):
        children.call("part", {"name": "no-such-part"}, threads=1)


def test_a_child_that_was_killed_says_so(monkeypatch, tmp_path):
    program = tmp_path / "killed"
    program.write_text("#!/bin/sh\nkill -9 $$\n")
    program.chmod(0o755)
    monkeypatch.setattr(children.sys, "executable", str(program))
    with pytest.raises(children.ChildError, match=r"memory runs out \(exit code -9\)"):
        children.call("part", {"name": "kernels"}, threads=1)


def test_families_have_processes_of_their_own(monkeypatch):
    asked = []

    def call(task, arguments, *, threads, progress):
        asked.append(arguments["within"])
        if arguments["within"] == "se_mobilenet *":
            raise children.ChildError("killed (exit code -9)")
        assert arguments.pop("name") == "family"
        values = {"subject": f"{asked[-1][:-2]} plain, inference", "batch": 1}
        return {
            "measurements": [{**values, "samples": [len(asked)]}],
            "skipped": {},
            "versions": {},
            "load": 0.0,
            "seconds": 2.0,
        }

    monkeypatch.setattr(running.children, "call", call)
    options = Options(threads=1, only="se_[mrv]*, inference")
    result = running.measure("family", options)
    names = [name for name in FAMILIES if name[3] in "mrv"]
    assert asked == [f"{name} *" for name in names]
    found = [measurement.subject for measurement in result.measurements]
    assert found == [f"{n} plain, inference" for n in names if n != "se_mobilenet"]
    assert set(result.skipped) == {
        "se_mobilenet plain, inference",
        "se_mobilenet with SE, inference",
    }
    assert result.seconds == 2 * (len(names) - 1)
    with pytest.raises(children.ChildError, match="exit code -9"):
        running.measure("family", dataclasses.replace(options, only="se_mobilenet*"))


@pytest.mark.parametrize(
    "rule, kind", [("_as_pool", "AveragePooling2D"), ("_as_dense", "Dense")]
)
def test_rewritten_gates_are_the_same_function_in_other_layers(rule, kind):
    model = NETWORKS["se_resnet50"].build(True)
    other = forms._rewritten(model, getattr(forms, rule))
    images = np.random.default_rng(0).normal(size=(2, *model.input_shape[1:]))
    np.testing.assert_allclose(other(images), model(images), rtol=1e-4, atol=1e-6)
    kinds = [type(layer).__name__ for layer in other.layers]
    blocks = sum(type(layer).__name__ == "SqueezeExcite" for layer in model.layers)
    assert kinds.count(kind) >= blocks == 4


def test_passes_apart_are_not_joined(monkeypatch):
    from keras_senet.layers import _tensorflow as kernels

    joined = []
    compiled = kernels._compiled_sum
    monkeypatch.setattr(
        kernels, "_compiled_sum", lambda *x: joined.append(x) or compiled(*x)
    )
    images = np.zeros((2, networks.TOY_SIZE, networks.TOY_SIZE, 3), "float32")
    for form in ("training_apart", "training"):
        FORMS[form].open(NETWORKS["se_resnet50"].build(True), 1)(images)()
        assert bool(joined) == (form == "training")


def test_a_form_that_changes_its_network_has_one_of_its_own(monkeypatch):
    """Two compiled training steps of one model would be one: the last compiled."""
    opened = []
    for name in ("training", "training_xla", "variables", "folded"):
        form = dataclasses.replace(
            FORMS[name], open=lambda m, threads: opened.append(m)
        )
        monkeypatch.setitem(FORMS, name, form)
    workshop = running._Workshop(Options(threads=1, toy=True), {}, print)
    for form in ("training", "training_xla", "variables", "folded"):
        workshop._open(Subject(name=form, network="se_resnet50", form=form))
    step, xla, variables, folded = map(id, opened)
    assert len({step, xla, variables}) == 3
    assert variables == folded
