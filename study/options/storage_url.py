"""URLs of storages: checks, files, and masked passwords."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote_to_bytes

import sqlalchemy

from nad.errors import ConfigError
from study.options.paths import expanded

JOURNAL = "journal:"
_KNOWN = "postgresql+psycopg://USER@HOST/DATABASE, mysql+pymysql://USER@HOST/DATABASE, sqlite:///FILE or journal:FILE"
_SQLITE_OPTIONS = {"uri", "timeout", "isolation_level", "detect_types", "check_same_thread", "cached_statements"}
_AUTHORITY = re.compile(r"file:(//(localhost)?(?=/))?")
_PASSWORD = re.compile(r"(://[^/?#@:]*:).*@", re.DOTALL)  # to the last @: a password may hold one by mistake
_SECRET = re.compile(r"([?&][^=&#]*(?:pass|pwd|secret|token)[^=&#]*=)[^&#]*", re.IGNORECASE)
_NO_PORT = re.compile(r"://[^/?#@:]*:(?!\d+(?:/|$))")


def require_storage(url: str) -> None:
    """Raise ConfigError for a bad URL, or a storage in memory."""
    if journal_path(url) is not None:
        return
    try:
        parsed = sqlalchemy.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:
        raise ConfigError(f"--storage {masked(url)!r} is no storage: write {_KNOWN}") from error
    if "***" in (parsed.password, *parsed.query.values()):
        raise ConfigError(
            f"--storage {url!r} has its password masked, as in config.json; put the password in, or leave it"
            " out if the driver finds it elsewhere, as in ~/.pgpass"
        )
    if parsed.get_backend_name() == "sqlite" and (
        parsed.database in (None, "", ":memory:") or "memory" in parsed.query.get("mode", "")
    ):
        raise ConfigError(f"--storage {url!r} is lost when the study ends: write sqlite:///FILE, or leave it out")
    if parsed.get_backend_name() == "sqlite" and not _is_uri(parsed):
        options = {name for name, _value in parse_qsl(url.partition("?")[2], keep_blank_values=True)}
        if unknown := sorted(options - _SQLITE_OPTIONS):
            raise ConfigError(
                f"--storage {url!r} has the unknown option {unknown[0]!r}; write %3F for a question mark in a file's"
                " name"
            )


def journal_path(url: str) -> Path | None:
    """The file of `journal:FILE`; None for any other storage.  Raises: ConfigError without a file."""
    if not url.startswith(JOURNAL):
        return None
    name = url.removeprefix(JOURNAL)
    if not name.strip("/"):
        raise ConfigError(f"--storage {url!r} names no file: write journal:FILE")
    return expanded(Path(name), "--storage").resolve()


def sqlite_file(url: str) -> Path | None:
    """The unquoted file of `sqlite:///FILE`; None for any other storage."""
    if url.startswith(JOURNAL):
        return None
    parsed = sqlalchemy.make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return None
    if not _is_uri(parsed):
        return expanded(Path(parsed.database), "--storage")
    return Path(os.fsdecode(unquote_to_bytes(os.fsencode(_AUTHORITY.sub("", parsed.database, count=1)))))


def sqlite_url(path: Path) -> str:
    """The URL of this file, with its path quoted."""
    return _with_file(sqlalchemy.URL.create("sqlite"), path)


def read_only_url(path: Path) -> str:
    """The URL for reading a database without changing it.

    A write-ahead database without its log has no writer: as immutable, SQLite makes no log for mere reading. Databases
    on shared file systems have no log, and readers wait for the driver as usual.
    """
    still = {"immutable": "1"} if _has_logs(path) and not path.with_name(f"{path.name}-wal").exists() else {}
    return _with_file(sqlalchemy.URL.create("sqlite", query={"mode": "ro", "uri": "true", **still}), path.absolute())


def _has_logs(database: Path) -> bool:
    """Whether the database keeps a write-ahead log while open, by the 19th byte of its header."""
    with database.open("rb") as file:
        return file.read(19)[18:] == b"\x02"


def located(url: str, start: Path) -> str:
    """The same storage from any folder: relative files start at `start`."""
    if url.startswith(JOURNAL):
        return f"{JOURNAL}{start / expanded(Path(url.removeprefix(JOURNAL)), '--storage')}"
    file = sqlite_file(url)
    return url if file is None else _with_file(sqlalchemy.make_url(url), start / file)


def for_optuna(url: str) -> str:
    """The URL for Optuna: a template, with braces escaped."""
    return url.replace("{", "{{").replace("}", "}}")


def hides_password(url: str) -> bool:
    """Whether `masked` took a password out of this text; stars in a file's name are no password."""
    return "***" in url and not url.startswith(JOURNAL) and sqlite_file(url) is None


def _is_uri(url: sqlalchemy.URL) -> bool:
    return str(url.query.get("uri", "")).lower() in ("true", "yes", "on", "y", "t", "1")


def _with_file(url: sqlalchemy.URL, path: Path) -> str:
    text = str(path)
    if not text.isprintable():  # bytes that are no UTF-8 pass in SQLite's own URIs alone
        url = url.update_query_dict({"uri": "true"})
    if _is_uri(url):
        text = f"file:{quote(os.fsencode(path))}"
    return url.set(database=text).render_as_string(hide_password=False)


def masked(url: str) -> str:
    """The text with passwords masked, for screens and files."""
    if url.startswith(JOURNAL):
        return url
    place, mark, query = url.partition("?")
    if "@" in query and "@" not in place and _NO_PORT.search(place):
        return _PASSWORD.sub(r"\1***@", url)  # the question mark is the password's own
    return _PASSWORD.sub(r"\1***@", place) + _SECRET.sub(r"\1***", mark + query)


def masked_arguments(arguments: Sequence[str]) -> list[str]:
    """A command's words with the passwords of URLs masked."""
    return [masked(word) if "://" in word else word for word in arguments]
