"""The consistent hash ring: which workers hold a path, in order of preference. Pure; no I/O.

A ring is immutable. Membership changes make a new one, and a read keeps the one it began with.
"""

from __future__ import annotations

import hashlib
import struct
import uuid
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import mmh3

__all__ = ["HashRing", "Snapshot", "WorkerAddress", "WorkerIdentity"]

#: Bytes of a raw identity, by version. Source: ``WorkerIdentity`` of the open-source server.
_IDENTIFIER_LENGTHS = {0: 8, 1: 16}

#: Attempts after which the server, too, stops looking for further distinct workers.
_MAX_ATTEMPTS = 100

#: Keys are signed 32-bit numbers; the ring closes after this many positions.
_KEY_SPACE = 1 << 32


@dataclass(frozen=True, slots=True, order=True)
class WorkerIdentity:
    """Who a worker is, whatever address it has today.

    Parameters
    ----------
    version
        0 (a 64-bit number, big-endian) or 1 (a UUID).
    identifier
        8 bytes for version 0, 16 bytes for version 1.

    Raises
    ------
    ValueError
        The version is unknown or `identifier` has the wrong length for it.
    """

    version: int
    identifier: bytes

    def __post_init__(self) -> None:
        expected = _IDENTIFIER_LENGTHS.get(self.version)
        if expected is None:
            raise ValueError(f"unknown worker identity version {self.version}")
        if len(self.identifier) != expected:
            raise ValueError(f"a version {self.version} worker identity has {expected} bytes, not {len(self.identifier)}")

    @classmethod
    def from_host(cls, host: str) -> WorkerIdentity:
        """The identity that a static worker list gives `host`: a name-based UUID without a namespace.

        Client and server agree only if both lists hold literally the same string.
        Source: ``STATIC`` membership (Java's ``UUID.nameUUIDFromBytes``).
        """
        digest = hashlib.md5(host.encode(), usedforsecurity=False).digest()
        return cls(1, uuid.UUID(bytes=digest, version=3).bytes)

    def __str__(self) -> str:
        """``worker-<decimal>`` or ``worker-<uuid>``, as in the names of ETCD keys."""
        if self.version == 0:
            return f"worker-{int.from_bytes(self.identifier, 'big', signed=True)}"
        return f"worker-{uuid.UUID(bytes=self.identifier)}"


class WorkerAddress(NamedTuple):
    """Where a worker's HTTP server listens. A tuple, because every read looks it up in dictionaries."""

    host: str
    http_port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.http_port}"


class HashRing:
    """Maps paths to workers exactly as the servers' ``CONSISTENT`` policy does.

    Parameters
    ----------
    workers
        Identities on the ring, in the order the membership reports them: where two virtual nodes share a key, the later
        worker keeps it.
    virtual_nodes
        Points per worker, > 0; must equal the servers'
        ``alluxio.user.consistent.hash.virtual.node.count.per.worker``.

    Notes
    -----
    A virtual node's key is the signed murmur3 (x86, 32 bits, seed 0) of ``identifier ‖ int32le(version) ‖ int32le(index)``;
    a path's is that of ``utf8(path) ‖ int32le(attempt)`` with attempts counted from 1. The owner is the worker of the
    smallest key that is not below the path's, or of the smallest key of all.
    """

    __slots__ = ("_keys", "_owners", "virtual_nodes", "workers")

    def __init__(self, workers: Iterable[WorkerIdentity], virtual_nodes: int = 5) -> None:
        if virtual_nodes < 1:
            raise ValueError(f"virtual_nodes must be at least 1, not {virtual_nodes}")
        self.workers: tuple[WorkerIdentity, ...] = tuple(dict.fromkeys(workers))
        self.virtual_nodes = virtual_nodes
        points: dict[int, WorkerIdentity] = {}
        for worker in self.workers:
            funnel = worker.identifier + struct.pack("<i", worker.version)
            for index in range(virtual_nodes):
                points[mmh3.hash(funnel + struct.pack("<i", index))] = worker
        self._keys: list[int] = sorted(points)
        self._owners: list[WorkerIdentity] = [points[key] for key in self._keys]

    def candidates(self, path: str, count: int = 1) -> list[WorkerIdentity]:
        """Up to `count` distinct workers for `path`, the owner first.

        Parameters
        ----------
        path
            Canonical full under-store path, e.g. ``s3://bucket/key``.
        count
            Workers wanted, >= 1. Fewer come back when the ring has fewer (or 100 attempts met fewer).
        """
        keys, owners = self._keys, self._owners
        if not keys:
            return []
        encoded = path.encode("utf-8", "surrogatepass")
        wanted = min(count, len(self.workers))
        found: dict[WorkerIdentity, None] = {}
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            index = bisect_left(keys, mmh3.hash(encoded + attempt.to_bytes(4, "little")))
            found[owners[index if index < len(keys) else 0]] = None
            if len(found) >= wanted:
                break
        return list(found)

    def shares(self) -> dict[WorkerIdentity, float]:
        """The part of the key space that each worker owns; the values add up to 1."""
        shares = dict.fromkeys(self.workers, 0.0)
        previous = self._keys[-1] - _KEY_SPACE if self._keys else 0
        for key, owner in zip(self._keys, self._owners, strict=True):
            shares[owner] += (key - previous) / _KEY_SPACE
            previous = key
        return shares

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, HashRing):
            return NotImplemented
        return (self.virtual_nodes, self._keys, self._owners) == (other.virtual_nodes, other._keys, other._owners)

    def __hash__(self) -> int:
        return hash((self.virtual_nodes, self.workers))

    def __repr__(self) -> str:
        return f"HashRing({len(self.workers)} workers, virtual_nodes={self.virtual_nodes})"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The cluster at one moment: a ring, where its workers listen, and the revision it was read at.

    `revision` is ETCD's store revision (0 for a static list); it never goes back.
    """

    ring: HashRing
    addresses: Mapping[WorkerIdentity, WorkerAddress]
    revision: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "addresses", MappingProxyType(dict(self.addresses)))

    def __reduce__(self) -> tuple[type[Snapshot], tuple[HashRing, dict[WorkerIdentity, WorkerAddress], int]]:
        return Snapshot, (self.ring, dict(self.addresses), self.revision)

    def candidates(self, path: str, count: int = 1) -> list[WorkerAddress]:
        """Addresses of up to `count` workers for the canonical `path`, the owner first."""
        return [self.addresses[worker] for worker in self.ring.candidates(path, count) if worker in self.addresses]
