"""Options of the study's record, its folder, and the display."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from study.options.helptext import documented


@documented
@dataclass(frozen=True, kw_only=True)
class RecordOptions:
    """Folders, storage and display."""

    output: Path = Path("runs")
    """Folder of all studies."""
    name: str | None = None
    """The study's folder in it; the same name resumes. Default: ATTACK-DATASET."""
    storage: str | None = field(default=None, repr=False)
    """Storage of the record: postgresql+psycopg://USER@HOST/DATABASE, mysql+pymysql://USER@HOST/DATABASE,
    sqlite:///FILE, or journal:FILE for network file systems. Default: SQLite in the study's folder."""
    take_over: bool = False
    """Take over a study in a shared storage from another folder, or from a driver on another host that may still run;
    such a driver then stops by itself."""
    fork: str | None = None
    """Start a new study of this name with the settings given here. It first runs every completed point of the study
    --name again; scores are not copied. The same command resumes it."""
    cache: Path | None = None
    """Folder of victims, teachers and downloads. Default: this user's cache folder."""
    json: bool = False
    """Report progress as lines of JSON, for other programs."""
    tensorboard: bool = False
    """Also write every trial for TensorBoard, into the study's folder. Takes the extra tensorboard."""
