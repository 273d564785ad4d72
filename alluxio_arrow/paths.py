"""Names of files: what Arrow passes, the canonical under-store path, the worker's file id. Pure; no I/O.

Ring key and file id are computed from the *canonical full under-store path*, so client and servers must agree on it to the
byte. `canonical_ufs_path` states that rule; `PathMapper` translates between it and the paths of Arrow users.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["PathMapper", "canonical_ufs_path", "file_id", "is_addressable", "parent_of", "same_store_schemes"]

#: A URI scheme, as people write it in front of ``:/``.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):(?=/)")

#: Schemes of this package; what follows them is a plain path of the under store.
_OWN_SCHEMES = frozenset({"alluxio", "alluxiofs"})

#: Stores whose paths start at a root (``/x``) instead of with a bucket (``bucket/key``).
_ROOTED_SCHEMES = frozenset({"file", "hdfs", "viewfs", "memory", "cephfs", "sftp", "ftp"})

#: Names of one and the same kind of store. The first is what a cluster usually has mounted.
_ALIASES = (
    ("file", "local"),
    ("s3", "s3a", "s3n"),
    ("gs", "gcs"),
    ("abfs", "abfss", "az", "adl"),
    ("hdfs", "arrow_hdfs"),
    ("oss",),
)

#: The server decodes these three (upper case only), so a name that holds one literally cannot be asked for.
_DECODED_BY_SERVER = re.compile("%2F|%3A|%3F")

#: What may stand in a ``path=`` value: printable ASCII that neither ends the value nor is rewritten on the way.
_ADDRESSABLE = re.compile(r"[!-~]+")
_UNADDRESSABLE_CHARACTERS = frozenset("&=?\\")


def canonical_ufs_path(text: str) -> str:
    """The text that the servers hash for the full under-store path `text`: ``scheme://authority/path``.

    Case and percent signs stay as they are; repeated and trailing slashes go, ``.`` and ``..`` are resolved. A query, from
    the first ``?`` on, is kept verbatim. Source: ``AlluxioURI`` of the open-source server.

    Raises
    ------
    ValueError
        The path climbs above its root.
    """
    prefix, path = _split(text)
    path, question, query = path.partition("?")
    return prefix + _normalize(path.replace("\\", "/"), text) + question + query


def _split(text: str) -> tuple[str, str]:
    """``scheme://authority`` (empty without a scheme) and the path that follows."""
    head = text.partition("/")[0]
    if ":" not in head:
        return "", text
    rest = text[len(head) :]
    authority = ""
    if rest.startswith("//"):
        authority, slash, tail = rest[2:].partition("/")
        rest = slash + tail
    return f"{head.rstrip(':')}://{authority}", rest


def _normalize(path: str, text: str) -> str:
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            if not segments:
                raise ValueError(f"the path {text!r} climbs above its root")
            segments.pop()
        elif segment not in ("", "."):
            segments.append(segment)
    return ("/" if path.startswith("/") else "") + "/".join(segments)


def _ufs_path(text: str) -> str:
    r"""The canonical form of `text` in which ``?`` and ``\`` stay parts of names.

    The servers' rule would make another file's name of one that holds a backslash. Kept as it is, such a name hashes to an id
    that no server uses, so its bytes come from the under store: the right ones.
    """
    prefix, path = _split(text)
    return prefix + _normalize(path, text)


def file_id(canonical: str) -> str:
    """The worker's id of a file: SHA-256 of its canonical path, 64 lower-case hexadecimal digits."""
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def is_addressable(canonical: str) -> bool:
    r"""Whether the worker's ``info``, ``files`` and ``load`` routes can be asked about `canonical`.

    The open-source server takes the raw value and decodes only ``%2F``, ``%3A`` and ``%3F``, cuts it at ``&`` and at the
    second ``=``, and reads bytes as Latin-1; so spaces, ``& = ? \``, control and non-ASCII characters cannot be sent.
    Pages can be read whatever the name is, because page requests carry only the file id.
    """
    return (
        _ADDRESSABLE.fullmatch(canonical) is not None
        and _UNADDRESSABLE_CHARACTERS.isdisjoint(canonical)
        and _DECODED_BY_SERVER.search(canonical) is None
        # A bare "s3://" names the list of buckets, which no worker knows.
        and not canonical.endswith("://")
    )


def parent_of(canonical: str) -> str:
    """The canonical path of the directory that holds `canonical`; a store's root is its own parent."""
    scheme, separator, rest = canonical.partition("://")
    if not separator:
        return canonical.rpartition("/")[0] or "/"
    directory, slash, _ = rest.rpartition("/")
    if not slash:
        return f"{scheme}://"
    return f"{scheme}://{directory}" if directory else f"{scheme}:///"


def without_own_scheme(path: str) -> str:
    """`path` without this package's scheme in front: what follows it is a path of the under store."""
    matched = _SCHEME.match(path)
    if matched is None or matched.group(1) not in _OWN_SCHEMES:
        return path
    return path[matched.end() :].removeprefix("//")


def same_store_schemes(scheme: str) -> frozenset[str]:
    """All schemes that name the same kind of store as `scheme`, itself included."""
    for names in _ALIASES:
        if scheme in names:
            return frozenset(names)
    return frozenset({scheme})


@dataclass(frozen=True, slots=True)
class PathMapper:
    """Translates between the paths of Arrow users and canonical under-store paths.

    Parameters
    ----------
    scheme
        Scheme under which the cluster has the under store mounted (``s3``, ``file``), or None when it is not known: then
        only full URIs are accepted, and paths come back as full URIs.
    root
        The cluster's ``alluxio.dora.client.ufs.root``, or None. A path that starts with ``/`` lies under it when the store
        has buckets; its authority completes paths of stores that have none in theirs (HDFS).
    """

    scheme: str | None
    root: str | None = None

    @classmethod
    def of(cls, protocols: Iterable[str], root: str | None) -> PathMapper:
        """The mapper for an under store known by any of `protocols` and a cluster mounted at `root`."""
        canonical_root = canonical_ufs_path(root) if root else None
        if canonical_root:
            matched = _SCHEME.match(canonical_root)
            return cls(matched.group(1) if matched else "file", canonical_root if matched else f"file://{canonical_root}")
        for protocol in protocols:
            for names in _ALIASES:
                if protocol in names:
                    # "local" or "gcs" is what a Python package calls it; "s3a" is what a cluster may have mounted.
                    return cls(protocol if protocol.startswith(("s3", "abfs")) else names[0])
            return cls(protocol)
        return cls(None)

    @property
    def is_rooted(self) -> bool:
        """Whether paths of the store start with ``/`` (files) instead of with a bucket."""
        return self.scheme in _ROOTED_SCHEMES

    def to_ufs(self, path: str) -> str:
        """The canonical under-store path that `path` names.

        Raises
        ------
        ValueError
            `path` has another store's scheme, or none while the under store's is unknown, or climbs above the root.
        TypeError
            `path` is not a string.
        """
        if not isinstance(path, str):
            raise TypeError(f"a path must be a str, not {type(path).__name__}")
        matched = _SCHEME.match(path)
        if matched is None:
            return self._ufs_path(self._complete(path))
        scheme = matched.group(1)
        rest = path[matched.end() :]
        if scheme in _OWN_SCHEMES:
            return self.to_ufs(without_own_scheme(path))
        if self.scheme is None:
            return _ufs_path(path)
        if scheme not in same_store_schemes(self.scheme):
            raise ValueError(f"the path {path!r} belongs to another store: this filesystem reads {self.scheme}:// paths")
        if self.is_rooted:
            rest = self._without_authority(rest)
            return self._ufs_path(self._complete(rest))
        return self._ufs_path(f"{self.scheme}:{rest}")

    def to_arrow(self, canonical: str) -> str:
        """The path of `canonical` as users of its store write it: ``bucket/key``, ``/x``, or the URI if no scheme is known."""
        if self.scheme is None:
            return canonical
        rest = canonical.partition("://")[2]
        return self._without_authority("//" + rest) if self.is_rooted else rest

    def _ufs_path(self, text: str) -> str:
        canonical = _ufs_path(text)
        # "s3://b/" and "s3://b" hash differently; one directory needs one name.
        return canonical if self.is_rooted or canonical.endswith("://") else canonical.rstrip("/")

    @staticmethod
    def _without_authority(rest: str) -> str:
        if not rest.startswith("//"):
            return rest
        _, slash, path = rest[2:].partition("/")
        return slash + path if slash else "/"

    def _complete(self, path: str) -> str:
        """`path`, which has no scheme, as a full URI."""
        if self.scheme is None:
            raise ValueError(
                f"the path {path!r} has no scheme, and the under store is not known: give a full URI (s3://bucket/key), "
                "or configure target_protocol, fs, or alluxio.dora.client.ufs.root"
            )
        if self.is_rooted:
            if not path.startswith("/"):
                path = os.path.abspath(path) if self.scheme == "file" else "/" + path
            authority = self.root.partition("://")[2].partition("/")[0] if self.root else ""
            return f"{self.scheme}://{authority}{path}"
        if path.startswith("/") and self.root is not None and path.strip("/"):
            return f"{self.root}/{path}"
        return f"{self.scheme}://{path.lstrip('/')}"
