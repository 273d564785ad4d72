"""The under store as a worker sees it: statuses and listings, kept for ever once read, as real workers keep them."""

from __future__ import annotations

import threading
from datetime import datetime
from pathlib import Path
from typing import Any

from alluxio_arrow.paths import canonical_ufs_path
from alluxio_arrow.testing.wire import human_size

__all__ = ["UfsView"]


class UfsView:
    """Metadata and bytes below one root.

    Parameters
    ----------
    root
        fsspec URL or local path.
    options
        Keyword arguments of the fsspec filesystem.
    """

    def __init__(self, root: str, options: dict[str, Any] | None = None) -> None:
        self.root = canonical_ufs_path(root if "://" in root else f"file://{root}")
        self._options = {"use_listings_cache": False, **(options or {})}
        self._fs: Any = None
        self._lock = threading.Lock()
        self._statuses: dict[str, dict[str, Any] | None] = {}
        self._listings: dict[str, list[dict[str, Any]]] = {}

    @property
    def fs(self) -> Any:
        """The fsspec filesystem beneath."""
        with self._lock:
            if self._fs is None:
                import fsspec

                self._fs = fsspec.filesystem(self.root.partition("://")[0], **self._options)
            return self._fs

    def resolve(self, path: str) -> str | None:
        """The canonical path that `path` means: full, or relative to the root; None if it lies outside."""
        try:
            full = canonical_ufs_path(path if ":" in path.partition("/")[0] else f"{self.root}/{path}")
        except ValueError:
            return None
        return full if full.rstrip("/") == self.root.rstrip("/") or full.startswith(self.root.rstrip("/") + "/") else None

    def own(self, full: str) -> str:
        """`full` as the fsspec filesystem calls it."""
        scheme, _, rest = full.partition("://")
        return ("/" + rest.partition("/")[2]) if scheme == "file" else rest

    def status(self, full: str) -> dict[str, Any] | None:
        """The ``info`` entry of a path, read once and then kept; None if it did not exist (not kept)."""
        if self._statuses.get(full) is None:
            self._statuses[full] = self.read_status(full)
        return self._statuses[full]

    def read_status(self, full: str) -> dict[str, Any] | None:
        """The ``info`` entry of a path as it is now."""
        try:
            info = self.fs.info(self.own(full))
        except FileNotFoundError:
            return None
        return self._entry(full, info)

    def listing(self, full: str) -> list[dict[str, Any]]:
        """The ``files`` entries of a path, read once and then kept; empty if it did not exist."""
        if full not in self._listings:
            self._listings[full] = self.read_listing(full)
        return self._listings[full]

    def read_listing(self, full: str) -> list[dict[str, Any]]:
        """The ``files`` entries of a path as they are now."""
        try:
            infos = self.fs.ls(self.own(full), detail=True)
        except FileNotFoundError:
            return []
        entries = []
        for info in infos:
            name = str(info["name"]).rstrip("/")
            if name == self.own(full).rstrip("/") and info["type"] == "directory":
                continue
            # Names with a question mark are lost on the way in real workers, too.
            if "?" not in name:
                scheme = full.partition("://")[0]
                entries.append(self._entry(f"{scheme}://{name}", info))
        return entries

    def refresh(self, full: str) -> dict[str, Any] | None:
        """Read the status of a path again, as a load job does; listings stay as they are."""
        self._statuses.pop(full, None)
        return self.status(full)

    def walk(self, full: str) -> list[dict[str, Any]] | None:
        """A path and everything below it as it is now; None if it does not exist."""
        top = self.read_status(full)
        if top is None:
            return None
        found = [top]
        if top["mType"] == "directory":
            for info in self.fs.find(self.own(full), withdirs=True, detail=True).values():
                name = str(info["name"]).rstrip("/")
                if name != self.own(full).rstrip("/"):
                    found.append(self._entry(f"{full.partition('://')[0]}://{name}", info))
        return found

    def _entry(self, full: str, info: dict[str, Any]) -> dict[str, Any]:
        is_file = info["type"] == "file"
        size = int(info.get("size") or 0) if is_file else 0
        name = full.rstrip("/").rpartition("/")[2]
        below = full.removeprefix(self.root.rstrip("/")) or "/"
        return {
            "mType": "file" if is_file else "directory",
            "mName": name,
            "mPath": below,
            "mUfsPath": full,
            "mLastModificationTimeMs": self._mtime_ms(full, info),
            "mLength": size,
            "mHumanReadableFileSize": human_size(size),
        }

    def _mtime_ms(self, full: str, info: dict[str, Any]) -> int:
        if full.startswith("file://"):
            return Path(self.own(full)).stat().st_mtime_ns // 1_000_000
        return _milliseconds(info)


def _milliseconds(info: dict[str, Any]) -> int:
    moment = info.get("mtime") or info.get("LastModified") or info.get("last_modified") or 0
    if isinstance(moment, datetime):
        return int(moment.timestamp() * 1000)
    return int(float(moment) * 1000)
