"""One hook through which an application can watch every wire step; nearly free when nobody does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

__all__ = ["Trace", "traced"]

#: Called as ``trace(event, info)`` in the thread that does the work. Events are named ``<step>.started``, ``<step>.complete``
#: and ``<step>.failed``. The steps: ``connect`` (worker); ``pages``, all page requests of one read to one worker (path, pages,
#: at the end bytes, misses, error); ``request``, anything else asked of a worker (target, status); ``ufs.read`` (path, ranges,
#: bytes); ``ufs.metadata`` (path). Steps nest within a thread. On failure `info` has ``error``. It must not raise, and should
#: return quickly.
Trace = Callable[[str, Mapping[str, Any]], None]


@contextmanager
def traced(trace: Trace | None, step: str, **info: Any) -> Iterator[dict[str, Any]]:
    """Report `step` to `trace` around the block; what the block adds to the yielded dict is reported at its end."""
    if trace is None:
        yield info
        return
    trace(f"{step}.started", info)
    try:
        yield info
    except BaseException as error:
        trace(f"{step}.failed", {**info, "error": error})
        raise
    trace(f"{step}.complete", info)
