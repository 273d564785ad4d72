"""Showing how a load job comes along: to a function, an fsspec callback, or a bar of tqdm's."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from alluxio_arrow.load_progress import LoadProgress

__all__ = ["as_callback"]


@contextmanager
def as_callback(progress: Any, path: str) -> Iterator[Callable[[LoadProgress], None]]:
    """A function to call with every report, for the length of the block.

    Parameters
    ----------
    progress
        None or False: nobody is told. True: a bar, where tqdm is installed and standard error is a terminal or a notebook. An
        fsspec callback (it has ``absolute_update``). Or a function that takes a `LoadProgress`.
    path
        What the bar is called.

    Raises
    ------
    TypeError
        `progress` is none of these.
    """
    if progress is True:
        with _bar(path) as tell:
            yield tell
    elif progress is None or progress is False:
        yield lambda _: None
    elif hasattr(progress, "absolute_update"):
        yield lambda report: _tell_fsspec(progress, report)
    elif callable(progress):
        yield progress
    else:
        raise TypeError(f"progress must be True, a function or an fsspec callback, not {type(progress).__name__}")


def _tell_fsspec(callback: Any, report: LoadProgress) -> None:
    if report.bytes_total is not None:
        callback.set_size(report.bytes_total)
    callback.absolute_update(report.bytes_loaded)


@contextmanager
def _bar(path: str) -> Iterator[Callable[[LoadProgress], None]]:
    try:
        from tqdm.auto import tqdm
    except ImportError:
        yield lambda _: None
        return
    # In a notebook the bar is a widget; elsewhere it needs a terminal.
    is_seen = "ipykernel" in sys.modules or sys.stderr.isatty()
    with tqdm(desc=path, unit="B", unit_scale=True, unit_divisor=1024, disable=not is_seen) as bar:

        def tell(report: LoadProgress) -> None:
            bar.total = report.bytes_total
            bar.n = report.bytes_loaded
            bar.set_postfix_str(f"{report.files_processed}/{report.files_scanned} files", refresh=False)
            bar.refresh()

        yield tell
