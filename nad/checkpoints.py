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
"""Facts of a checkpoint, as JSON values."""

CARD_KEY = "nad_study_card"
"""Key of the card in a file's metadata."""


class Checkpoint(NamedTuple):
    """A model's weights and its card."""

    state: State
    card: Card


def content_key(facts: Mapping[str, object]) -> str:
    """24 hexadecimal digits, equal for equal facts.

    Raises: ConfigError for facts outside JSON's types: as text, different ones might look the same.
    """
    try:
        text = json.dumps(facts, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"settings of a cached result must be in JSON's types: {error}") from error
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
    """Write beside, then rename, so that a reader sees the whole file or none."""
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
    """Read a file written by `save`.

    Raises: CheckpointError for a missing, torn, foreign or unreadable file.
    """
    try:
        path.open("rb").close()  # safetensors calls every unreadable file missing
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
    """A file beyond repair, as opposed to one unreadable just now."""


def cached(folder: Path, kind: str, facts: Mapping[str, object], make: Callable[[], Checkpoint]) -> Checkpoint:
    """The checkpoint under the hash of its facts, from the cache or made and kept.

    One process makes it while others wait; a torn file is made anew.
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
    """The cache's file for these facts; creates its folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise CheckpointError(
            f"cannot make the cache folder {folder}: {error.strerror}; choose another --cache"
        ) from error
    return folder / f"{kind}-{content_key(facts)}.safetensors"


def load_entry(path: Path) -> Checkpoint | None:
    """The cached checkpoint; None for a missing file or a torn one, now removed.

    Raises: CheckpointError for a file unreadable just now: it may hold a victim that cannot be made again.
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
