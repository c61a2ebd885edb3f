"""Owner of a database, from its tables: Optuna, another program, or nobody yet."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy
from optuna.storages._rdb.models import BaseModel

from nad.errors import ConfigError
from study.options.storage_url import masked, sqlite_file

_MARKS = {"studies": "study_name", "trials": "trial_id", "version_info": "schema_version"}
"""Tables of every version of Optuna, and a column of each: other programs have studies and trials, too."""

_LAST = "alembic_version"
"""Optuna's last table. Other programs have one of this name, too, and a database can hold only one."""


def require_optuna(url: str, connect_args: Mapping[str, int] | None = None, *, shared: bool = False) -> bool:
    """True if the database has all of Optuna's tables, of any version; only reads.

    shared: allow other programs' tables beside them, as in a server's database.
    Raises: ConfigError for another program's database; sqlalchemy's errors if it cannot be read.
    """
    engine = sqlalchemy.create_engine(url, connect_args=dict(connect_args or {}))
    try:
        found = sqlalchemy.inspect(engine)
        tables = set(found.get_table_names())
        mistaken = {
            table
            for table, column in _MARKS.items()
            if table in tables and column not in {each["name"] for each in found.get_columns(table)}
        }
    finally:
        engine.dispose()
    if tables >= _MARKS.keys() and not mistaken:
        return _LAST in tables
    others = mistaken | (tables & {_LAST}) | (set() if shared else tables - BaseModel.metadata.tables.keys())
    if others:
        raise ConfigError(
            f"{sqlite_file(url) or masked(url)} is a database of another program, with {_listed(sorted(others))};"
            " nothing was added to it; name another one with --storage, or another folder with --output"
        )
    return False


def _listed(names: list[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"the table{'s' if len(names) > 1 else ''} {', '.join(names[:most])}{more}"
