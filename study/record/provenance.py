"""Origin of a study's numbers: versions and revision; and the identity of a resumed study."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import optuna

import search_spaces
from nad import SCIENCE_VERSION, models
from nad.attacks import describe
from nad.checkpoints import state_digest
from nad.data import fingerprint
from nad.errors import ConfigError, NadError
from nad.formats import ForeignModel
from nad.scenario import Scenario
from nad.training import described
from nad.victim import VictimConfig
from study.options.config import StudyConfig
from study.record.folder import StudyFolder
from study.record.writing import write_json

Source = VictimConfig | ForeignModel
"""Origin of a victim: its training recipe, or its file."""

PACKAGES = ("nad-study", "torch", "torchvision", "ray", "optuna", "numpy", "pandas", "plotly", "scipy", "scikit-image")

_IDENTITY = "identity"  # system attribute of the study
_UNSAID = {"science version": 1, "precision": "float32", "flip": True}  # of earlier studies, silent on these


def versions() -> dict[str, str]:
    """Versions of Python and of the packages behind numbers and figures."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def git_revision() -> str | None:
    """Revision of this code's checkout, with a mark if changed; None outside a checkout."""
    root = Path(search_spaces.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        described = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],  # noqa: S607
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip()


def identity(
    config: StudyConfig, scenario: Scenario, source: Source, own_teacher: ForeignModel | None = None
) -> dict[str, Any]:
    """Everything shared by comparable trials, as JSON values: contents instead of paths.

    own_teacher: from a file.
    """
    options = config.victim
    model, teacher = options.architecture, options.teacher_architecture
    facts = {
        "science version": SCIENCE_VERSION,
        "dataset": options.dataset,
        "image size": options.used_image_size,
        "flip": options.used_flip,
        "images": fingerprint(scenario.dataset),
        "attack": describe(scenario.attack),
        "model": models.identity(model),
        # None for the victim's own, as in earlier studies without a choice
        "teacher model": None if teacher == model else models.identity(teacher),
        "teacher": None if own_teacher is None else state_digest(own_teacher.state),
        "seed": config.search.seed,
        "victim": described(source) if isinstance(source, VictimConfig) else {"weights": state_digest(source.state)},
        "space": config.search.space,
        "space version": search_spaces.get(config.search.space).version,
        "clean fractions": config.search.fractions,
        "threads per trial": config.engine.cpus_per_trial,
        "precision": config.engine.used_precision,
    }
    plain: dict[str, Any] = json.loads(json.dumps(facts))
    return plain


def claim(folder: StudyFolder, study: optuna.Study, settings: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Write config.json, unless the study has begun with another identity.

    Raises: ConfigError with the differences; nothing is changed then.
    """
    recorded = _recorded_identity(study)
    if recorded is None and study.get_trials(deepcopy=False):
        recorded = _identity_in(folder)
    if recorded is not None:
        require_same(folder.name, recorded, identity)
    write_json(folder.config, {**settings, "identity": identity})


def _identity_in(folder: StudyFolder) -> Mapping[str, Any]:
    """The identity of an earlier version's study, before it was recorded."""
    try:
        found: Mapping[str, Any] = json.loads(folder.config.read_text(encoding="utf-8"))["identity"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NadError(
            f"cannot read {folder.config}, the identity of this study; restore it or choose another --name"
        ) from error
    return found


def require_same(name: str, recorded: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raise ConfigError, with the differences, unless both identities are equal."""
    before, now = _flat({**_UNSAID, **recorded}), _flat(asked)
    differences = [
        f"{key} {_brief(before.get(key))} (now {_brief(now.get(key))})"
        for key in dict.fromkeys([*before, *now])
        if before.get(key) != now.get(key)
    ]
    if differences:
        raise ConfigError(
            f"the study {name!r} was made with {', '.join(differences)}; give the same settings to go on with it,"
            " --fork NAME to start a new one from its points, or another --name to start afresh"
        )


def _recorded_identity(study: optuna.Study) -> Mapping[str, Any] | None:
    """The study's identity in the record, or None."""
    found: Mapping[str, Any] | None = _system_attrs(study).get(_IDENTITY)
    return found


def record_identity(study: optuna.Study, identity: Mapping[str, Any]) -> None:
    """Fix a study's identity, once its victim is accepted; until then its settings may change."""
    if _recorded_identity(study) is None:
        study._storage.set_study_system_attr(study._study_id, _IDENTITY, dict(identity))


def _system_attrs(study: optuna.Study) -> dict[str, Any]:
    return study._storage.get_study_system_attrs(study._study_id)


def require_same_victims(study: optuna.Study, digests: Mapping[str, str]) -> None:
    """Raise ConfigError if a lost victim's new training gave other weights.

    Weights depend on the processor and the number of threads. digests: of the victims' weights, by the record's
    attribute for them.
    """
    for attribute, digest in digests.items():
        _require_same_victim(study, attribute, digest)


def _require_same_victim(study: optuna.Study, attribute: str, digest: str) -> None:
    recorded = study.user_attrs.get(attribute)
    if recorded not in (None, digest):
        raise ConfigError(
            f"the study {study.study_name!r} was made on the victim {_brief(recorded)}, now missing from the"
            f" cache, and training it again gave {_brief(digest)}; choose another --name to start a new study"
        )
    if recorded is None:
        study.set_user_attr(attribute, digest)


def _flat(facts: Mapping[str, Any]) -> dict[str, Any]:
    """One level: {"victim": {"epochs": 3}} becomes {"victim epochs": 3}."""
    flat: dict[str, Any] = {}
    for key, value in facts.items():
        if isinstance(value, Mapping):
            flat |= {f"{key} {inner}": content for inner, content in _flat(value).items()}
        else:
            flat[key] = value
    return flat


def _brief(value: object) -> str:
    text = json.dumps(value) if not isinstance(value, str) else value
    return text if len(text) <= 24 else f"{text[:12]}..."
