"""Pages on disk: one file per page, the least recently used evicted when a capacity is set."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import BinaryIO

__all__ = ["PageStore"]


class PageStore:
    """Pages by file id and index.

    Parameters
    ----------
    directory
        Where the pages lie; those already there are served again.
    capacity
        Bytes kept at most; None: no limit.
    """

    def __init__(self, directory: str, capacity: int | None = None) -> None:
        self._directory = Path(directory)
        self._directory.mkdir(parents=True, exist_ok=True)
        self._capacity = capacity
        self._lock = threading.Lock()
        self._sizes: OrderedDict[tuple[str, int], int] = OrderedDict()
        for path in sorted(self._directory.glob("*/*")):
            if path.name.isdigit():
                self._sizes[path.parent.name, int(path.name)] = path.stat().st_size
            else:
                path.unlink()  # A put that was cut off.

    def _path(self, file_id: str, index: int) -> Path:
        return self._directory / file_id / str(index)

    def open(self, file_id: str, index: int) -> tuple[BinaryIO, int] | None:
        """The page's file and size, or None if it is not stored; counts as a use."""
        with self._lock:
            size = self._sizes.get((file_id, index))
            if size is None:
                return None
            self._sizes.move_to_end((file_id, index))
            return self._path(file_id, index).open("rb"), size

    def put(self, file_id: str, index: int, data: bytes) -> None:
        """Store a page, unless it is there already; visible at once and as a whole."""
        with self._lock:
            if (file_id, index) in self._sizes:
                return
            path = self._path(file_id, index)
            path.parent.mkdir(exist_ok=True)
            unfinished = path.with_name(f"{index}.unfinished")
            unfinished.write_bytes(data)
            unfinished.replace(path)
            self._sizes[file_id, index] = len(data)
            while self._capacity is not None and sum(self._sizes.values()) > self._capacity:
                oldest, _ = self._sizes.popitem(last=False)
                self._path(*oldest).unlink()

    def evict(self, file_id: str | None = None, index: int | None = None) -> None:
        """Drop one page, all pages of a file, or everything."""
        with self._lock:
            for key in list(self._sizes):
                if file_id in (None, key[0]) and index in (None, key[1]):
                    del self._sizes[key]
                    self._path(*key).unlink()

    def indexes(self, file_id: str) -> list[int]:
        """Indexes of the stored pages of a file, ascending."""
        with self._lock:
            return sorted(index for known, index in self._sizes if known == file_id)
