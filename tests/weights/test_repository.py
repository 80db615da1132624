"""Files of the Hugging Face hub, against one on this machine."""

import sys

import pytest

from keras_senet.weights import find_preset, store
from keras_senet.weights.opening import open_checkpoint
from keras_senet.weights.repository import Repository, fetch_address, parse_address

FILES = {"model.safetensors": b"weights" * 99, "config.json": b"{}"}
PRESET = "timm/seresnet50.a1_in1k"


def asked(hub):
    """What was asked since the last call."""
    requests, hub.requests = hub.requests, []
    return requests


def test_fetched_once_with_its_configuration_beside_it(hub):
    hub.add("me/mine", FILES)
    path = fetch_address("hf://me/mine")
    assert path.read_bytes() == FILES["model.safetensors"]
    assert (path.parent / "config.json").read_bytes() == b"{}"
    assert sum(request.startswith("GET") for request in asked(hub)) == 2
    assert fetch_address("hf://me/mine") == path
    assert not any(request.startswith("GET") for request in asked(hub))


def test_revisions_and_files(hub):
    hub.add("me/mine", FILES)
    hub.add("me/mine", {"model.safetensors": b"older"}, revision="v1")
    hub.add("me/mine", {"model.safetensors": b"proposed"}, revision="refs/pr/3")
    hub.add("me/mine", {"sub/ema.bin": b"averages"}, revision="v1")
    for address, content in (
        ("hf://me/mine@v1", b"older"),
        ("hf://me/mine@v1/sub/ema.bin", b"averages"),
        ("hf://me/mine/model.safetensors", FILES["model.safetensors"]),
    ):
        assert fetch_address(address).read_bytes() == content
    repository, file = parse_address("hf://me/mine@refs/pr/3/a/b.bin")
    assert (repository.revision, file) == ("refs/pr/3", "a/b.bin")


def test_the_hubs_hash_is_the_files(hub):
    hub.add("me/mine", FILES)
    path = fetch_address("hf://me/mine")
    path.resolve().write_bytes(b"w" * 693)
    assert fetch_address("hf://me/mine").read_bytes() == FILES["model.safetensors"]
    path.resolve().write_bytes(b"w" * 693)
    hub.damaged.add("model.safetensors")
    with pytest.raises(OSError, match=r"is not the file that the hub describes\. Its"):
        fetch_address("hf://me/mine")


def test_private_repositories_need_their_token(hub, monkeypatch):
    hub.add("me/mine", FILES)
    hub.private["me/mine"] = "hf_secret"
    with pytest.raises(OSError, match="or the token may not see it"):
        fetch_address("hf://me/mine")
    assert Repository(name="me/mine", token="hf_secret").fetch_weights().is_file()
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert fetch_address("hf://me/mine").is_file()


@pytest.mark.parametrize(
    ("address", "error", "message"),
    [
        ("hf://me/nothing", OSError, "There is no repository 'me/nothing' on http://"),
        ("hf://me/gated", OSError, "me/gated is gated: accept its terms at http"),
        ("hf://me/mine@v9", OSError, "has no revision 'v9'"),
        (
            "hf://me/mine/a.bin",
            FileNotFoundError,
            "hf://me/mine on http.* has no a.bin",
        ),
        ("hf://me/empty", FileNotFoundError, "must have a file of weights, model.safe"),
        ("hf://mine", ValueError, "'hf://user/model', optionally followed by"),
        ("hf://me/mine@", ValueError, "Received: 'hf://me/mine@'"),
        ("hf://me/../mine", ValueError, "Received: 'hf://me/../mine'"),
        ("hf://me/-mine-", ValueError, "'me/-mine-' is not a name of the hub"),
    ],
)
def test_what_cannot_be_had_is_one_line(hub, address, error, message):
    hub.add("me/mine", FILES)
    hub.add("me/empty", {"README.md": b""})
    hub.gated.add("me/gated")
    with pytest.raises(error, match=message) as caught:
        open_checkpoint(address)
    assert "\n" not in str(caught.value)


def test_offline_is_what_the_cache_has(hub, monkeypatch):
    hub.add("me/mine", {"model.weights.h5": b"ours"})
    path = fetch_address("hf://me/mine")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    asked(hub)
    assert fetch_address("hf://me/mine") == path
    with pytest.raises(
        OSError, match=r"not in the hub's cache.* HF_HUB_OFFLINE is set"
    ):
        fetch_address("hf://me/other")
    with pytest.raises(
        OSError, match=r"cannot be downloaded: model\.safetensors of hf://timm"
    ):
        store.fetch(find_preset(PRESET))
    path.resolve().write_bytes(b"outs")
    with pytest.raises(OSError, match=r"model\.weights\.h5 of hf://me/mine failed: "):
        fetch_address("hf://me/mine")
    assert asked(hub) == []


def test_presets_are_timms_files_in_the_hubs_cache(hub, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    hub.add(PRESET, FILES)
    preset = find_preset(PRESET)
    path = Repository(name=PRESET).fetch("model.safetensors")  # as timm does
    asked(hub)
    assert store.fetch(preset) == path
    assert not any(request.startswith("GET") for request in asked(hub))
    # A mirror stands for the hub, and without the package there is no hub.
    monkeypatch.setenv(store.MIRROR, str(tmp_path))
    (tmp_path / preset.files[0].name).write_bytes(b"mirrored")
    monkeypatch.setattr(store, "_may_be", lambda part, name: True)
    assert store.fetch(preset).read_bytes() == b"mirrored"
    assert asked(hub) == []


def test_an_address_of_a_preset_is_the_preset(hub, monkeypatch):
    opening = sys.modules["keras_senet.weights.opening"]
    read = {}
    monkeypatch.setattr(
        opening,
        "read_checkpoint",
        lambda path, preset=None: read.update({path: preset}),
    )
    monkeypatch.setattr(opening, "fetch", lambda preset: "the preset's")
    hub.add(PRESET, FILES, revision="v1")
    open_checkpoint(f"hf://{PRESET}", "se_resnet50")
    open_checkpoint(f"hf://{PRESET}@v1", "se_resnet50")
    assert list(read) == ["the preset's", fetch_address(f"hf://{PRESET}@v1")]
    assert set(read.values()) == {find_preset(PRESET)}
    with pytest.raises(ValueError, match="which belongs to se_resnet50"):
        open_checkpoint(f"hf://{PRESET}@v1", "se_mobilenet")


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match="pip install huggingface_hub"):
        fetch_address("hf://me/mine")
