"""What every test stands on."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile(
    "repeatable", derandomize=True, deadline=None
)  # neither chance nor a busy machine fails a test
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def signals_are_heard() -> Iterator[None]:
    """What nohup, or a shell's &, starts ignores these; so would what a test sends them to, for ever."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, action in before.items():
        signal.signal(number, action)
