"""Check every node of a cluster before the first trial."""

from __future__ import annotations

from collections.abc import Mapping

from nad.errors import ConfigError
from study.engine.node_facts import Facts, describe
from study.engine.nodes import on_every_node

DECISIVE = ("python", "torch")
"""Versions must be equal: another Python cannot read this one's messages, another torch gives other sums."""

PACKAGES = ("torch", "torchvision", "numpy", "optuna", "scipy", "scikit-image")
"""Libraries of a trial."""

_MODULES = ("study.engine.erase_task", "study.engine.tune")
_SECONDS = 300.0
"""A node's first task unpacks the code and imports torch; a slow disk takes its time."""


def require_equal_nodes() -> list[str]:
    """Warnings about nodes with other versions of packages: results may change, but trials run.

    Raises: ConfigError with the node and the difference if trials would fail there.
    """
    here = describe(PACKAGES, ())
    answers = on_every_node(describe, (PACKAGES, _MODULES), seconds=_SECONDS)
    warnings = []
    for node, facts in answers:
        if isinstance(facts, str):
            raise ConfigError(f"the node {node} of the cluster does not run tasks of this study: {facts}")
        _require_equal(node, facts, here)
        if others := _differences(facts.versions, here.versions):
            warnings.append(f"the node {node} has {others}; its results may differ in the last digits")
    return warnings


def _require_equal(node: str, facts: Facts, here: Facts) -> None:
    decisive = {name: facts.versions[name] for name in DECISIVE if name in facts.versions}
    if differences := _differences(decisive, here.versions):
        raise ConfigError(f"the node {node} has {differences}; install the same version on every node")
    if facts.failure:
        raise ConfigError(
            f"the node {node} cannot import this study's code ({facts.failure}); install the same packages on every"
            " node"
        )
    if facts.code != here.code:
        raise ConfigError(
            f"the node {node} imports other files of this study's code than this process (digest {facts.code[:12]},"
            f" here {here.code[:12]}); take other copies off the Python path of its `ray start`"
        )


def _differences(there: Mapping[str, str], here: Mapping[str, str]) -> str:
    """Such as `torch 2.13.0 (here 2.14.1)`."""
    return ", ".join(
        f"{name} {value} (here {here.get(name, 'none')})" for name, value in there.items() if value != here.get(name)
    )
