"""Numbers and settings as people read them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

NONE = "–"
"""Stands for a missing value."""

LAYER_PREFIXES = ("distil_", "beta_")
"""distil_<layer> is the switch of a layer's distillation, beta_<layer> its weight."""

CONTROL_LABELS = {
    "no-defence": "no defence",
    "fine-tuning": "fine-tuning",
    "nad-paper": "NAD (paper)",
    "nad-code": "NAD (code)",
    "fine-tuning-low-lr": "fine-tuning (low lr)",
    "nad-low-lr": "NAD (low lr)",
    "fine-pruning": "fine-pruning",
    "mode-connectivity": "mode connectivity",
    "anp": "ANP",
}

STATE_LABELS = {
    "COMPLETE": "complete",
    "RUNNING": "running",
    "PRUNED": "pruned",
    "FAIL": "failed",
}


def percent(fraction: float | None, digits: int = 1) -> str:
    """0.934 -> '93.4%'."""
    return NONE if fraction is None or math.isnan(fraction) else f"{100 * fraction:.{digits}f}%"


def points(difference: float) -> str:
    """A difference of two fractions, with its sign: -0.014 -> '−1.4 points'."""
    return f"{signed(difference)} points"


def signed(difference: float) -> str:
    """A difference of two fractions in percentage points, with its sign: -0.014 -> '−1.4'."""
    rounded = round(100 * difference, 1)
    return f"{'−' if rounded < 0 else '+' if rounded > 0 else '±'}{abs(rounded):.1f}"


def interval(bounds: tuple[float, float], digits: int = 1) -> str:
    """Bounds of a fraction as percents: (0.12, 0.345) -> '12.0% to 34.5%'."""
    return f"{percent(bounds[0], digits)} to {percent(bounds[1], digits)}"


def with_interval(fraction: float, bounds: tuple[float, float] | None, digits: int = 1) -> str:
    """A score, and its interval if it has one: '23.0% (12.0% to 34.5%)'."""
    return percent(fraction) + (f" ({interval(bounds, digits)})" if bounds else "")


def seeds(count: int) -> str:
    """1 -> 'with one fresh seed', 3 -> 'over 3 fresh seeds'."""
    return "with one fresh seed" if count == 1 else f"over {count} fresh seeds"


def settings(count: int) -> str:
    """Such as "1 setting" or "12 settings"."""
    return "1 setting" if count == 1 else f"{count} settings"


def quantity(value: float) -> str:
    """A number with four significant digits: 1234.56 -> '1,235', 0.0012345 -> '0.001234'; whole numbers stay whole."""
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}"


def duration(seconds: float | None) -> str:
    """200 -> '3 min 20 s', 5000 -> '1 h 23 min', 4.25 -> '4.2 s'."""
    if seconds is None or math.isnan(seconds):
        return NONE
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def label(name: str) -> str:
    """A name as it stands in a table's head: 'clean_fraction' -> 'clean data', 'weight_decay' -> 'weight decay'."""
    return "clean data" if name == "clean_fraction" else name.replace("_", " ")


def setting(name: str, value: Any) -> str:
    """One setting's value; shares of the data as percents."""
    if value is None or value == "":
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)) and math.isfinite(value):
        share = name.endswith("_fraction") or name == "poison_rate"
        return f"{100 * value:.4g}%" if share else quantity(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{label(key)}: {setting(key, entry)}" for key, entry in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(setting(name, entry) for entry in value)
    return str(value)


def layer_names(params: Mapping[str, Any]) -> list[str]:
    """Layers of the space, in its order, from the names distil_<layer> and beta_<layer>."""
    found = (name.split("_", 1)[1] for name in params if name.startswith(LAYER_PREFIXES))
    return list(dict.fromkeys(found))


def distilled(params: Mapping[str, Any]) -> list[str]:
    """Layers distilled by these hyperparameters."""

    def chosen(layer: str) -> bool:
        beta = params.get(f"beta_{layer}")
        return bool(params.get(f"distil_{layer}", beta is not None)) and beta != 0

    return [layer for layer in layer_names(params) if chosen(layer)]


def readable_params(params: Mapping[str, Any]) -> dict[str, str]:
    """Hyperparameters as label and text: the layers and their betas as one entry, then every other one."""
    readable = {}
    if layer_names(params):
        chosen = " + ".join(_layer_text(params, layer) for layer in distilled(params))
        readable["distilled"] = chosen or "no layer (β = 0)"
    for name, value in params.items():
        if not name.startswith(LAYER_PREFIXES):
            readable[label(name)] = setting(name, value)
    return readable


def wanted_class(attack_settings: Mapping[str, Any]) -> str:
    """The attack's wanted class for triggered images."""
    return "the class after their own" if attack_settings.get("label_mode") == "all-to-all" else "the target class"


def control_label(name: str) -> str:
    """A control's name as people say it; an unknown one as it is."""
    return CONTROL_LABELS.get(name, name)


def _layer_text(params: Mapping[str, Any], layer: str) -> str:
    beta = params.get(f"beta_{layer}")
    return layer if beta is None else f"{layer} (β {setting('beta', beta)})"
