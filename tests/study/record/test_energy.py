import shutil
from pathlib import Path
from typing import Any

import optuna
import pytest

from study.record.energy import EnergyMeter


@pytest.fixture
def counters(tmp_path: Path) -> Path:
    """Two packages as the kernel shows them, and a part of one, which is counted in its package already."""
    for name, joules in (("intel-rapl:0", 100), ("intel-rapl:1", 250), ("intel-rapl:0:0", 40)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "max_energy_range_uj").write_text(f"{300_000_000 - 1}\n")
        set_joules(tmp_path, name, joules)
    return tmp_path


def set_joules(counters, name, joules) -> None:
    (counters / name / "energy_uj").write_text(f"{joules * 1_000_000}\n")


def test_packages_add_up_over_runs_also_past_the_end_of_a_counter(counters: Path) -> None:
    study = optuna.create_study()
    meter = EnergyMeter(study, counters)
    set_joules(counters, "intel-rapl:0", 130)
    set_joules(counters, "intel-rapl:1", 20)
    assert meter.read() == pytest.approx((30 + 70) / 3.6e6, abs=1e-6)
    set_joules(counters, "intel-rapl:0", 131)
    meter.read()
    later = EnergyMeter(study, counters)
    set_joules(counters, "intel-rapl:1", 29)
    later.read()
    assert study.user_attrs["joules"] == pytest.approx(110)


@pytest.mark.parametrize(
    ("names", "joules"),
    [(("package-0", "psys"), 30), (("psys", "package-1"), 70), (("package-0", "package-1"), 100), (("psys",), 30)],
)
def test_machine_s_own_counter_is_not_added_to_those_of_its_packages(counters: Path, names: Any, joules: int) -> None:
    for number in (0, 1):
        if number < len(names):
            (counters / f"intel-rapl:{number}" / "name").write_text(f"{names[number]}\n")
        else:
            shutil.rmtree(counters / f"intel-rapl:{number}")
    study = optuna.create_study()
    meter = EnergyMeter(study, counters)
    for number, now in enumerate((130, 20)[: len(names)]):
        set_joules(counters, f"intel-rapl:{number}", now)
    meter.read()
    assert study.user_attrs["joules"] == pytest.approx(joules)


@pytest.mark.parametrize("hidden", ["missing", "secret"])
def test_without_counters_the_energy_is_not_known_nor_later(counters: Path, tmp_path: Path, hidden: str) -> None:
    study = optuna.create_study()
    if hidden == "missing":
        meter = EnergyMeter(study, tmp_path / "nowhere")
    else:
        (counters / "intel-rapl:0" / "energy_uj").unlink()
        (counters / "intel-rapl:0" / "energy_uj").mkdir()  # cannot be read, whoever runs this
        meter = EnergyMeter(study, counters)
    assert meter.read() is None
    assert EnergyMeter(study, counters).read() is None
