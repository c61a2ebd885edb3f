"""Names of storages: what `--storage` may be, and how it is shown without its password."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import sqlalchemy

from nad.errors import ConfigError

JOURNAL = "journal:"
_KNOWN = "postgresql+psycopg://USER@HOST/DATABASE, mysql+pymysql://USER@HOST/DATABASE, sqlite:///FILE or journal:FILE"
_PASSWORD = re.compile(r"(://[^/?#@:]*:).*@", re.DOTALL)  # to the last @: a password may hold one by mistake
_SECRET = re.compile(r"([?&][^=&#]*(?:pass|pwd|secret|token)[^=&#]*=)[^&#]*", re.IGNORECASE)
_NO_PORT = re.compile(r"://[^/?#@:]*:(?!\d+(?:/|$))")


def require_storage(url: str) -> None:
    """Raise ConfigError for what names no storage, or one that keeps nothing."""
    if journal_path(url) is not None:
        return
    try:
        parsed = sqlalchemy.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:
        raise ConfigError(f"--storage {masked(url)!r} is no storage: write {_KNOWN}") from error
    if "***" in (parsed.password, *parsed.query.values()):
        raise ConfigError(
            f"--storage {url!r} is a storage as it was written down, with its password masked; put the password in, or"
            " leave it out where the driver finds it by itself, as in ~/.pgpass"
        )
    if parsed.get_backend_name() == "sqlite" and (
        parsed.database in (None, "", ":memory:") or "memory" in parsed.query.get("mode", "")
    ):
        raise ConfigError(f"--storage {url!r} is lost when the study ends: write sqlite:///FILE, or leave it out")


def journal_path(url: str) -> Path | None:
    """The file of `journal:FILE`; None for any other storage.  Raises: ConfigError where it names none."""
    if not url.startswith(JOURNAL):
        return None
    name = url.removeprefix(JOURNAL)
    if not name.strip("/"):
        raise ConfigError(f"--storage {url!r} names no file: write journal:FILE")
    return Path(name).expanduser().resolve()


def masked(url: str) -> str:
    """The same text without passwords, for screens and files."""
    place, mark, query = url.partition("?")
    if "@" in query and "@" not in place and _NO_PORT.search(place):
        return _PASSWORD.sub(r"\1***@", url)  # the question mark is the password's own
    return _PASSWORD.sub(r"\1***@", place) + _SECRET.sub(r"\1***", mark + query)


def masked_arguments(arguments: Sequence[str]) -> list[str]:
    """A command's words, with the passwords of URLs in them masked."""
    return [masked(word) if "://" in word else word for word in arguments]
