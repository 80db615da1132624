"""Repositories of the Hugging Face hub: which one a name means, and its files.

With huggingface_hub, so that its cache, tokens and settings are what people know:
HF_HOME, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE.
"""

import contextlib
import dataclasses
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from keras_senet.containers import CONFIG
from keras_senet.utils.errors import first_line, not_installed, short
from keras_senet.utils.files import sha256

SCHEME = "hf://"
_FILES = ("model.safetensors", "model.weights.h5", "pytorch_model.bin")
_ADDRESS = re.compile(
    r"(?P<name>[\w.-]+/[\w.-]+)"
    r"(@(?P<revision>refs/pr/\d+|[^@/]+))?(/(?P<file>[^@]+))?"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Repository:
    """A repository of models on the hub."""

    name: str  # "user/model"
    revision: str | None = None  # a branch, a tag or a commit; None is the main branch
    token: str | bool | None = None  # None is that of the login, False none

    def __str__(self) -> str:
        return f"{SCHEME}{self.name}{f'@{self.revision}' if self.revision else ''}"

    def fetch(self, file: str) -> Path:
        """Returns a file in the hub's cache, fetched if need be.

        Where the hub gives its SHA-256, the file has it.

        Raises:
            FileNotFoundError: If the repository has no such file.
            OSError: If it cannot be had; one line says why.
        """
        for again in (False, True):
            with _explained(self, file) as hub:
                path = hub.hf_hub_download(
                    self.name,
                    file,
                    revision=self.revision,
                    token=self.token,
                    force_download=again,
                    endpoint=hub.constants.ENDPOINT,
                )
            # The cache names large files by the hash that the hub gives.
            expected = Path(path).resolve().name
            if not re.fullmatch("[0-9a-f]{64}", expected):
                return Path(path)
            found = sha256(Path(path))
            if found == expected:
                return Path(path)
        raise OSError(
            f"{file} of {self} is not the file that the hub describes. Its SHA-256 "
            f"must be {expected}, but it is {found}"
        )

    def fetch_weights(self) -> Path:
        """Returns its file of weights, the first of the usual ones that it has."""
        for file in sorted(_FILES, key=lambda file: not self._is_cached(file)):
            with contextlib.suppress(FileNotFoundError):
                return self.fetch(file)
        raise FileNotFoundError(
            f"{self} must have a file of weights, {', '.join(_FILES[:-1])} or "
            f"{_FILES[-1]}. If the file has another name, use {self}/FILE."
        )

    def fetch_config(self, weights: str = "") -> Path | None:
        """Returns the config.json beside a file, or None where there is none."""
        file = str(PurePosixPath(weights).parent / CONFIG)
        if is_offline() and self._is_cached(file) is None:
            return None
        with contextlib.suppress(FileNotFoundError):
            return self.fetch(file)
        return None

    def upload(self, folder: Path, *, private: bool | None = None) -> None:
        """Uploads the files of a folder; makes the repository where there is none."""
        with _explained(self, f"the upload of {str(folder)!r}") as hub:
            api = hub.HfApi(endpoint=hub.constants.ENDPOINT, token=self.token)
            api.create_repo(self.name, private=private, exist_ok=True)
            if self.revision is not None:
                api.create_branch(self.name, branch=self.revision, exist_ok=True)
            api.upload_folder(
                repo_id=self.name, folder_path=folder, revision=self.revision
            )

    def _is_cached(self, file: str) -> bool | None:
        """Whether a file is in the cache; None for one that is known not to exist."""
        with _explained(self, file) as hub:
            found = hub.try_to_load_from_cache(self.name, file, revision=self.revision)
            return None if found is hub._CACHED_NO_EXIST else found is not None


def is_installed() -> bool:
    """Whether huggingface_hub is there."""
    return importlib.util.find_spec("huggingface_hub") is not None


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids to ask the hub."""
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


def parse_address(address: str) -> tuple[Repository, str | None]:
    """Reads "hf://user/model", "hf://user/model@revision" or either with "/file"."""
    found = _ADDRESS.fullmatch(address.removeprefix(SCHEME))
    if not found or ".." in address:
        raise ValueError(
            "A model on the hub must be 'hf://user/model', optionally followed by "
            f"'@revision' or '/file'. Received: {short(address)}"
        )
    name, revision, file = found.group("name", "revision", "file")
    return Repository(name=name, revision=revision), file


def fetch_address(address: str) -> Path:
    """Returns the file of weights that an address of the hub means.

    Its config.json, which says what arrays do not, lies beside it then.
    """
    repository, file = parse_address(address)
    path = repository.fetch(file) if file else repository.fetch_weights()
    repository.fetch_config(file or "")
    return path


@contextlib.contextmanager
def _explained(repository: Repository, what: str) -> Iterator:
    """Gives huggingface_hub and turns its errors, of many lines, into one.

    `what` is what is read from the repository, or written to it.
    """
    try:
        import huggingface_hub as hub
        from huggingface_hub import constants, errors
    except ImportError as error:
        raise not_installed("Models of the hub", error, "huggingface_hub") from None
    name, host = repository.name, constants.ENDPOINT
    try:
        yield hub
    except errors.GatedRepoError:
        problem = OSError(
            f"{repository} is gated: accept its terms at {host}/{name}, then log in "
            "with `hf auth login` or set HF_TOKEN"
        )
    except errors.RepositoryNotFoundError:
        problem = OSError(
            f"There is no repository {name!r} on {host}, or the token may not see it. "
            "For a private one, log in with `hf auth login` or set HF_TOKEN"
        )
    except errors.RevisionNotFoundError:
        problem = OSError(f"{name!r} on {host} has no revision {repository.revision!r}")
    except errors.LocalEntryNotFoundError as error:
        why = f"{host} cannot be reached: {first_line(error.__cause__ or error)[:200]}"
        if constants.HF_HUB_OFFLINE:
            why = "HF_HUB_OFFLINE is set"
        problem = OSError(
            f"{what} of {repository} is not in the hub's cache, "
            f"{constants.HF_HUB_CACHE}, and {why}"
        )
    except errors.EntryNotFoundError:
        problem = FileNotFoundError(f"{repository} on {host} has no {what}")
    except errors.HFValidationError as error:
        problem = ValueError(
            f"{short(name)} is not a name of the hub: {first_line(error)[:200]}"
        )
    # What its HTTP library raises differs between its versions.
    except Exception as error:
        known = filter(None, (error, error.__cause__))
        reasons = " ".join(first_line(e)[:200] for e in known)
        problem = OSError(f"{what} of {repository} failed: {reasons}")
    else:
        return
    raise problem from None
