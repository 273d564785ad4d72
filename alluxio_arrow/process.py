"""Things that live in one process: made when first used, made anew in a forked child, closed before the interpreter ends."""

from __future__ import annotations

import atexit
import gc
import os
import threading
import weakref
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

__all__ = ["Closable", "PerProcess"]


class Closable(Protocol):
    """What `PerProcess` holds."""

    def finish(self) -> None:
        """Refuse new work, wait briefly for work in flight, release everything. Called once, when the interpreter ends."""


T = TypeVar("T", bound=Closable)

#: What to finish at exit, with the process that made it.
_live: weakref.WeakKeyDictionary[Closable, int] = weakref.WeakKeyDictionary()
_exit_is_watched = threading.Event()


class PerProcess(Generic[T]):
    """A value of which every process has its own.

    Parameters
    ----------
    make
        Makes the value of this process; gets the one inherited from the parent process (or None), from which it may take
        plain data but no socket, thread or lock.
    """

    __slots__ = ("__weakref__", "_make", "_values")

    def __init__(self, make: Callable[[T | None], T]) -> None:
        self._make = make
        self._values: dict[int, T] = {}

    def get(self) -> T:
        """This process's value. Takes no lock: one held by another thread at a fork would stay locked in the child."""
        pid = os.getpid()
        value = self._values.get(pid)
        if value is None:
            inherited = next(reversed(self._values.values()), None)
            # Two threads may both make one; making is cheap and setdefault lets one win. An inherited value stays in the
            # dictionary, because collecting it would close what the parent still uses.
            value = self._values.setdefault(pid, self._make(inherited))
            _watch_exit(value)
        return value

    def peek(self) -> T | None:
        """This process's value if it was made already."""
        return self._values.get(os.getpid())


def _watch_exit(value: Closable) -> None:
    _live[value] = os.getpid()
    if not _exit_is_watched.is_set():
        _exit_is_watched.set()
        atexit.register(_finish_all)


def _finish_all() -> None:
    """Let reads in flight on Arrow's threads end, and keep new ones out.

    An Arrow thread that calls into Python while the interpreter is being torn down brings the process down with SIGABRT.
    """
    gc.collect()
    for value, pid in list(_live.items()):
        # What a forked child inherited is its parent's to finish.
        if pid == os.getpid():
            value.finish()
