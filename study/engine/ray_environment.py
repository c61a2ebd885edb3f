"""Environment variables read once by Ray and the C library: `study` imports this before Ray."""

from __future__ import annotations

import os

os.environ.update(
    {
        "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # drops the worker deaths that Ray prints: the record has them
        "RAY_AIR_NEW_OUTPUT": "0",  # verbose=0 still prints boxes in the new output
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "RAY_ENABLE_AUTO_CONNECT": "0",  # or any call of Ray's may start one behind our back
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the study's storage is the record; no CSV, JSON, TensorBoard
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # it swallows Ctrl-C and waits up to 15 s for running trials
        "TUNE_GLOBAL_CHECKPOINT_S": "inf",  # nothing is ever restored from Tune's own state
        "TUNE_STATE_REFRESH_PERIOD": "3600",  # it asks the head for its resources, and hangs on a lost one
        "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    }
)
os.environ.setdefault("MALLOC_ARENA_MAX", "1")  # glibc: the threads of past trials would keep their freed memory
