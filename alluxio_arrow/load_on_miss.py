"""Which misses are worth a load job: each file once in a while, and not too many at a time. Pure but for the clock."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

__all__ = ["LoadOnMiss"]

#: Files remembered; beyond it, the oldest may be loaded again.
_MAX_FILES = 10_000

#: Seconds until a file that is missed again, or still, is loaded again: it may have been evicted meanwhile.
_AGAIN_AFTER_S = 600.0

#: Jobs per minute, on average and at once: the master takes no more than 100 at a time.
_JOBS_PER_MINUTE = 60


class LoadOnMiss:
    """Decides for ``on_miss="load"``. Thread-safe.

    Parameters
    ----------
    clock
        Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._submitted: OrderedDict[str, float] = OrderedDict()
        self._tokens = float(_JOBS_PER_MINUTE)
        self._filled_at = clock()

    def wants(self, path: str) -> bool:
        """Whether to submit a job for `path`, which was missed just now. Counts as submitted if so."""
        now = self._clock()
        with self._lock:
            submitted = self._submitted.get(path)
            if submitted is not None and now - submitted < _AGAIN_AFTER_S:
                return False
            self._tokens = min(_JOBS_PER_MINUTE, self._tokens + (now - self._filled_at) * _JOBS_PER_MINUTE / 60)
            self._filled_at = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            self._submitted[path] = now
            self._submitted.move_to_end(path)
            while len(self._submitted) > _MAX_FILES:
                self._submitted.popitem(last=False)
            return True

    def refused(self, path: str) -> None:
        """The cluster did not take the job: the next miss may try again."""
        with self._lock:
            self._submitted.pop(path, None)
