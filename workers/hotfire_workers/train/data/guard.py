"""Bounds on what a stranger's template or file may take: time for one call, memory for one read."""

from __future__ import annotations

import contextlib
import gc
import resource
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_STATM = Path("/proc/self/statm")


class TookTooLongError(Exception):
    """What ran under `time_limit` did not come to an end in time."""


@contextlib.contextmanager
def time_limit(limit_s: float) -> Iterator[None]:
    """Ends Python code that does not end by itself, such as a template's endless loop.

    It works by a signal, so only in the main thread (elsewhere it does nothing), and a call into compiled
    code is not interrupted before it returns. Not to be nested.

    Raises:
        TookTooLongError: The time is over.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: Any) -> None:
        raise TookTooLongError(f"it took longer than {limit_s:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def memory_limit(extra_bytes: int) -> Iterator[None]:
    """Lets the process grow by so much address space and no more: what asks for more gets MemoryError.

    A file of a few kilobytes can name a page of many gigabytes; only the allocation tells. A limit that is
    lower already stays.
    """
    if not _STATM.exists():
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = int(_STATM.read_text().split()[0]) * resource.getpagesize() + extra_bytes
    if soft != resource.RLIM_INFINITY:
        limit = min(limit, soft)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextlib.contextmanager
def few_collections() -> Iterator[None]:
    """The garbage collector leaves alone what is there now, and looks at the rest seldom.

    The libraries' million objects, looked at again whenever some thousand rows are there, cost a fifth of the time.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
