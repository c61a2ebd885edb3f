"""Models on disk: a cache keyed by content, written atomically, never pickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nad.errors import CheckpointError, ConfigError
from nad.files import utf8_name, written_beside

State = dict[str, Tensor]
Card = dict[str, object]
"""What a checkpoint says of itself: JSON values."""

CARD_KEY = "nad_study_card"
"""Under which a file's metadata hold its card."""


class Checkpoint(NamedTuple):
    """A model's weights and what is known of them."""

    state: State
    card: Card


def content_key(facts: Mapping[str, object]) -> str:
    """A name for everything that shaped a result: the same facts give the same 24 hexadecimal digits.

    Raises: ConfigError for facts that JSON cannot hold: as text, two that differ might look the same.
    """
    try:
        text = json.dumps(facts, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"what shapes a result has to be in JSON's types, or it cannot be kept: {error}") from error
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def state_digest(state: State) -> str:
    """sha256 of a model's weights: names, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(state):
        values = np.ascontiguousarray(state[name].detach().cpu().numpy())
        digest.update(f"{name}{values.dtype}{values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write beside, then rename: a reader sees the whole file or none."""
    plain = {name: value.detach().cpu().contiguous() for name, value in checkpoint.state.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with written_beside(path) as beside:
            save_file(plain, beside, metadata={CARD_KEY: json.dumps(checkpoint.card)})
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"cannot write the model file {path}: {error}; is there space, and may you write there?"
        ) from error


def load(path: Path) -> Checkpoint:
    """Read a file that `save` wrote.

    Raises: CheckpointError for a file that is missing, torn, of another kind, or that cannot be read now.
    """
    try:
        path.open("rb").close()  # safetensors says of every file that it cannot open that there is none
        with utf8_name(path) as name, safe_open(name, framework="pt") as file:
            card = json.loads((file.metadata() or {}).get(CARD_KEY, "null"))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, ValueError, RecursionError) as error:
        raise _Damaged(f"cannot read the model file {path}: {error}; give one that this tool wrote") from error
    except (OSError, RuntimeError) as error:  # the latter is torch's
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise CheckpointError(
            f"cannot read the model file {path}: {reason}; nothing was removed: mend that and try again"
        ) from error
    if not isinstance(card, dict):
        raise _Damaged(f"the model file {path} was not written by this tool: it has no card; give one that was")
    return Checkpoint(state, card)


class _Damaged(CheckpointError):
    """Of a file that will never be read, unlike one that its file system does not give just now."""


def cached(folder: Path, kind: str, facts: Mapping[str, object], make: Callable[[], Checkpoint]) -> Checkpoint:
    """The checkpoint under the hash of its facts, made and kept where it is not there yet.

    One process makes it while others wait for it; a torn file is made anew.
    """
    path = entry(folder, kind, facts)
    with FileLock(f"{path}.lock"):
        found = load_entry(path)
        if found is not None:
            return found
        made = make()
        checkpoint = Checkpoint(made.state, {**made.card, "facts": dict(facts)})
        save(path, checkpoint)
        return checkpoint


def entry(folder: Path, kind: str, facts: Mapping[str, object]) -> Path:
    """Where the cache keeps what these facts describe; its folder is there afterwards."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise CheckpointError(
            f"cannot make the cache folder {folder}: {error.strerror}; choose another --cache"
        ) from error
    return folder / f"{kind}-{content_key(facts)}.safetensors"


def load_entry(path: Path) -> Checkpoint | None:
    """What the cache holds there; None where there is nothing, or only a torn file, which goes.

    Raises: CheckpointError for a file that cannot be read now: it may be a victim that cannot be made again.
    """
    if not path.exists():
        return None
    try:
        return load(path)
    except _Damaged:
        path.unlink()
        return None


def copy_state(model: torch.nn.Module) -> State:
    """A model's weights, detached from it."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
