"""Who is on the ring: a static list, or what live workers have registered in ETCD, kept current by a watch.

Readers take one immutable `Snapshot` by a plain attribute read; they never wait for ETCD once there is one. One daemon thread
lists and watches: a full listing is the truth, watch events keep it current until the stream ends, whatever the reason
(compaction, a lost connection, an expired token, the refresh interval); then it lists anew.
"""

from __future__ import annotations

import json
import logging
import os
import random
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

from alluxio_arrow.config import Settings
from alluxio_arrow.errors import MembershipError
from alluxio_arrow.etcd_protobuf import import_etcd3
from alluxio_arrow.ring import HashRing, Snapshot, WorkerAddress, WorkerIdentity

__all__ = ["EtcdMembership", "Membership", "StaticMembership", "decode_worker", "make_membership"]

logger = logging.getLogger(__name__)

#: Seconds to wait before listing again after a failure: doubled each time up to the limit, and taken at random below it.
_BACKOFF_S = 0.1
_MAX_BACKOFF_S = 5.0

#: A generator of our own: an application that seeded the common one must not find it moved.
_random = random.Random()


class _GrpcUser:
    """Which process first opened a gRPC channel; a forked child inherits the answer."""

    pid: int | None = None


_grpc_user = _GrpcUser()

#: Pings on an idle connection, so that a vanished ETCD host is noticed between changes. ETCD refuses more than one in 5 s.
_GRPC_OPTIONS = (("grpc.keepalive_time_ms", 30_000), ("grpc.keepalive_timeout_ms", 10_000))


class Membership(Protocol):
    """The workers of a cluster, now."""

    @property
    def known(self) -> Snapshot | None:
        """The latest snapshot, if there is one; asks nobody."""

    def snapshot(self) -> Snapshot:
        """The latest snapshot; waits only if there has never been one.

        Raises
        ------
        MembershipError
            There is none to be had.
        """

    def refresh(self) -> Snapshot:
        """A snapshot that was read just now.

        Raises
        ------
        MembershipError
            There is none to be had.
        """

    def close(self) -> None:
        """Stop keeping current. What is known stays known."""


def make_membership(settings: Settings, *, initial: Snapshot | None = None) -> Membership:
    """The membership that `settings` describe, beginning with `initial` if the parent process knew one."""
    if settings.worker_hosts:
        return StaticMembership(settings.worker_hosts, settings.virtual_nodes)
    return EtcdMembership(settings, initial=initial)


class StaticMembership:
    """A list of workers that never changes.

    Parameters
    ----------
    addresses
        The workers, at least one. An identity is derived from the host's name, as servers with a static list do; where one host
        has several workers, from ``host:port``, since they could not be told apart otherwise.
    virtual_nodes
        Points per worker on the ring.

    Notes
    -----
    Workers that register in ETCD have random identities, so this ring differs from theirs; with one worker it does not matter.
    """

    def __init__(self, addresses: Sequence[WorkerAddress], virtual_nodes: int = 5) -> None:
        hosts = [address.host for address in addresses]
        workers = {
            WorkerIdentity.from_host(address.host if hosts.count(address.host) == 1 else str(address)): address
            for address in addresses
        }
        self.known = Snapshot(HashRing(workers, virtual_nodes), workers)

    def snapshot(self) -> Snapshot:
        """The list's snapshot."""
        return self.known

    def refresh(self) -> Snapshot:
        """The list's snapshot."""
        return self.known

    def close(self) -> None:
        """Nothing to stop."""


def decode_worker(value: bytes, *, default_port: int = 28080) -> tuple[WorkerIdentity, WorkerAddress]:
    """Identity and address out of the JSON that a worker registers. Order and unknown keys do not matter.

    Raises
    ------
    ValueError
        The value is not such JSON, the identity is malformed, or the worker's HTTP server is disabled (port 0).
    """
    try:
        entry = json.loads(value)
        identity = WorkerIdentity(entry["Identity"]["version"], bytes.fromhex(entry["Identity"]["identifier"]))
        address = entry["WorkerNetAddress"]
        host, port = address["Host"], address.get("HttpServerPort", default_port)
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise ValueError(f"not a worker's registration: {error!r}") from error
    if not isinstance(host, str) or not host or not isinstance(port, int) or not 0 <= port <= 65535:
        raise ValueError(f"host {host!r} and port {port!r} are no address")
    if port == 0:
        raise ValueError("its HTTP server is disabled")
    return identity, WorkerAddress(host, port)


class EtcdMembership:
    """The live workers of a cluster, as registered in ETCD.

    Parameters
    ----------
    settings
        Endpoints, credentials, cluster name, time-outs, refresh interval.
    initial
        Snapshot to begin with: then nothing ever waits for ETCD.
    connect
        Opens an `etcd3` client for ``(host, port)``; replaced in tests.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        initial: Snapshot | None = None,
        connect: Callable[[str, int], Any] | None = None,
    ) -> None:
        self._registry = _Registry(settings, initial, connect or partial(_open_client, settings))
        self._lock = threading.Lock()
        self._watcher: _Watcher | None = None

    @property
    def known(self) -> Snapshot | None:
        """The latest snapshot, if there is one; asks nobody."""
        return self._registry.known

    def snapshot(self) -> Snapshot:
        """The latest snapshot; only the first call ever waits, at most the time-out for each endpoint."""
        if self._watcher is None and not (self._registry.known is not None and _is_forked_from_grpc()):
            with self._lock:
                if self._watcher is None:
                    if self._registry.known is None:
                        self._registry.list_once()
                    self._watcher = _Watcher(self._registry)
                    # The thread knows the registry only, so it ends when nobody holds this membership any more.
                    weakref.finalize(self, self._watcher.stop).atexit = False
        known = self._registry.known
        if known is None:  # pragma: no cover - the listing above gave one, or raised
            raise MembershipError("no workers are known")
        return known

    def refresh(self) -> Snapshot:
        """List now, in this thread."""
        with self._lock:
            self._registry.list_once()
        return self.snapshot()

    def close(self) -> None:
        """Stop the watch, if there is one. Idempotent."""
        with self._lock:
            watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.stop()


class _Registry:
    """The registrations as last seen, and how they are read."""

    def __init__(self, settings: Settings, initial: Snapshot | None, connect: Callable[[str, int], Any]) -> None:
        self._settings = settings
        self._prefix = f"/ServiceDiscovery/{settings.cluster_name}/"
        self._connect = connect
        self._entries: dict[bytes, tuple[WorkerIdentity, WorkerAddress]] = {}
        self._complained: set[tuple[bytes, int]] = set()
        self.known = initial

    def list_once(self) -> None:
        """List at any endpoint, and leave it at that."""
        client, _ = self.list_anywhere()
        client.close()

    def list_anywhere(self) -> tuple[Any, int]:
        """List at the first endpoint that answers; gives its client and the revision."""
        # The endpoints in another order each time, so that many clients do not all lean on the first.
        endpoints = _random.sample(self._settings.etcd_endpoints, len(self._settings.etcd_endpoints))
        failures = []
        cause: Exception | None = None
        for host, port in endpoints:
            client = None
            try:
                client = self._connect(host, port)
                return client, self._list(client)
            except Exception as error:  # noqa: BLE001 - etcd3 lets through whatever gRPC raises; the next endpoint is the answer
                if client is not None:
                    client.close()
                cause = error
                failures.append(f"{host}:{port} ({_reason(error)})")
        raise MembershipError(
            f"no ETCD endpoint gave the workers of cluster {self._settings.cluster_name!r}: tried {', '.join(failures)}"
        ) from cause

    def _list(self, client: Any) -> int:
        response = client.get_prefix_response(self._prefix)
        entries = {}
        for item in response.kvs:
            entry = self._decode(item.key, item.value, item.mod_revision)
            if entry is not None:
                entries[item.key] = entry
        if not entries and self.known is None:
            raise MembershipError(f"no worker is registered under {self._prefix} (of {len(response.kvs)} entries there)")
        self._entries = entries
        self._publish(response.header.revision)
        return int(response.header.revision)

    def _decode(self, key: bytes, value: bytes, revision: int) -> tuple[WorkerIdentity, WorkerAddress] | None:
        try:
            return decode_worker(value, default_port=self._settings.worker_http_port)
        except ValueError as error:
            if (key, revision) not in self._complained:
                self._complained.add((key, revision))
                logger.warning("skipped the registration %s: %s", key.decode("utf-8", "replace"), error)
            return None

    def watch(self, client: Any, revision: int, started: Callable[[Any], None]) -> None:
        """Apply changes after `revision` until the stream ends, one way or another. Hands the stream to `started`."""
        etcd3 = import_etcd3()
        request = etcd3.etcdrpc.WatchRequest(
            create_request=etcd3.etcdrpc.WatchCreateRequest(
                key=self._prefix.encode(),
                range_end=self._prefix[:-1].encode() + b"0",  # "0" comes after "/": everything with the prefix
                start_revision=revision + 1,
            )
        )
        interval = self._settings.etcd_refresh_workers_interval
        ended = threading.Event()
        stream = etcd3.etcdrpc.WatchStub(client.channel).Watch(
            _requests(request, ended), metadata=client.metadata, timeout=interval if interval > 0 else None
        )
        started(stream)
        try:
            for response in stream:
                if response.canceled or response.compact_revision:
                    return
                for event in response.events:
                    self._apply(event)
                if response.events:
                    self._publish(response.header.revision)
        finally:
            ended.set()
            stream.cancel()

    def _apply(self, event: Any) -> None:
        if event.type == event.DELETE:
            self._entries.pop(event.kv.key, None)
            return
        entry = self._decode(event.kv.key, event.kv.value, event.kv.mod_revision)
        if entry is None:
            self._entries.pop(event.kv.key, None)
        else:
            self._entries[event.kv.key] = entry

    def _publish(self, revision: int) -> None:
        """Make a snapshot of the entries, unless it would be empty or the same."""
        workers = dict(self._entries[key] for key in sorted(self._entries))
        known = self.known
        if known is not None:
            if not workers:
                logger.warning("no worker is registered any more; going on with the %d known", len(known.addresses))
                return
            if dict(known.addresses) == workers:
                if revision > known.revision:
                    self.known = Snapshot(known.ring, known.addresses, revision)
                return
        identities = tuple(workers)
        is_same_ring = known is not None and known.ring.workers == identities
        ring = known.ring if known is not None and is_same_ring else HashRing(identities, self._settings.virtual_nodes)
        self.known = Snapshot(ring, workers, revision)
        logger.info("workers at revision %d: %s", revision, ", ".join(map(str, workers.values())))


class _Watcher:
    """The thread that keeps a registry current until it is stopped."""

    def __init__(self, registry: _Registry) -> None:
        self._registry = registry
        self._stopped = threading.Event()
        self._stream: Any = None
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name="alluxio-arrow-etcd", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; does nothing in a forked child, where there is none."""
        if os.getpid() != self._pid:
            return
        self._stopped.set()
        stream = self._stream
        if stream is not None:
            stream.cancel()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=1)

    def _started(self, stream: Any) -> None:
        self._stream = stream
        if self._stopped.is_set():
            stream.cancel()

    def _run(self) -> None:
        pause = _BACKOFF_S
        while not self._stopped.is_set():
            client = None
            try:
                client, revision = self._registry.list_anywhere()
                pause = _BACKOFF_S
                self._registry.watch(client, revision, self._started)
            except Exception as error:  # noqa: BLE001 - the top of the thread: whatever ends a watch leads to a new listing
                # The end of the refresh interval arrives as a time-out of the stream, too.
                if not self._stopped.is_set() and not _is_deadline(error):
                    logger.info("the watch on ETCD ended: %s", _reason(error))
                    self._stopped.wait(_random.uniform(pause / 2, pause))
                    pause = min(2 * pause, _MAX_BACKOFF_S)
            finally:
                self._stream = None
                if client is not None:
                    client.close()


def _is_forked_from_grpc() -> bool:
    """Whether this process was forked from one that used gRPC: using it here, too, may hang or abort the process.

    Such a child goes on with the workers it inherited (or was sent with a pickled filesystem).
    """
    return _grpc_user.pid not in (None, os.getpid())


def _open_client(settings: Settings, host: str, port: int) -> Any:
    if _grpc_user.pid is None:
        _grpc_user.pid = os.getpid()
    client = import_etcd3().client(
        host=f"[{host}]" if ":" in host else host,
        port=port,
        timeout=settings.etcd_timeout_s,
        user=settings.etcd_username,
        password=settings.etcd_password,
        ca_cert=settings.etcd_ca_cert,
        cert_cert=settings.etcd_cert_cert,
        cert_key=settings.etcd_cert_key,
        grpc_options=_GRPC_OPTIONS,
    )
    # The token travels as metadata. As call credentials, too, gRPC refuses to send it over a connection without TLS.
    client.call_credentials = None
    return client


def _requests(first: Any, ended: threading.Event) -> Iterator[Any]:
    yield first
    # The stream of requests must stay open for as long as answers are wanted.
    ended.wait()


def _is_deadline(error: Exception) -> bool:
    code = getattr(error, "code", None)
    return callable(code) and getattr(code(), "name", "") == "DEADLINE_EXCEEDED"


def _reason(error: Exception) -> str:
    """The telling part of an error of etcd3 or gRPC; never credentials, which neither puts there."""
    details = getattr(error, "details", None)
    text = details() if callable(details) else str(error)
    return (
        f"{type(error).__name__}: {text}"
        if text and not isinstance(error, MembershipError)
        else str(error) or type(error).__name__
    )
