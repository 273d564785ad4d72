"""Who is on the ring: a static list, or what live workers have registered in ETCD, kept current by a watch.

Readers take one immutable `Snapshot` by a plain attribute read; they never wait for ETCD once there is one. One daemon thread
lists and watches, and nothing else asks ETCD, so no answer can overtake another. A full listing is the truth, and watch events
keep it current until the stream ends, whatever the reason (compaction, a lost connection, an expired token, the refresh
interval, a wish for a fresh listing); then it lists anew.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
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

#: Seconds that a fork, or the interpreter's end, waits at most for threads to let go of gRPC.
_HOLD_PATIENCE_S = 2.0

#: A generator of our own: an application that seeded the common one must not find it moved.
_random = random.Random()

#: Seconds to wait for each thread that gRPC started for a watch, after it was cancelled; they need milliseconds.
_HELPER_PATIENCE_S = 0.5


class _GrpcUse:
    """Keeps forks, and the interpreter's end, apart from gRPC.

    A lock of gRPC's that is held while another thread forks stays held in the child for ever, and a thread that is in gRPC
    while the interpreter is torn down may crash. Watchers use gRPC inside ``with``. Whoever forks interrupts them and waits
    until none is inside; afterwards they go on. At exit they are stopped.
    """

    def __init__(self) -> None:
        #: The process that first used gRPC; a forked child inherits it.
        self.pid: int | None = None
        self._watchers: weakref.WeakSet[_Watcher] = weakref.WeakSet()
        self._changed = threading.Condition()
        self._inside = 0
        self._forking = 0

    def add(self, watcher: _Watcher) -> None:
        """Interrupt `watcher` at forks."""
        with self._changed:
            self._watchers.add(watcher)

    def begin(self) -> None:
        """Remember that this process uses gRPC. Only now does anything happen at a fork: importing does nothing."""
        with self._changed:
            if self.pid is None:
                self.pid = os.getpid()
                os.register_at_fork(before=self._hold, after_in_parent=self._release, after_in_child=self._reset)
                atexit.register(self._end)

    def __enter__(self) -> None:
        self.begin()
        with self._changed:
            self._changed.wait_for(lambda: not self._forking)
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    def _hold(self) -> None:
        with self._changed:
            self._forking += 1
            for watcher in self._watchers:
                watcher.interrupt()
            # Not for ever: a listing may be waiting for an ETCD that hangs. What follows is then as safe as gRPC is.
            self._changed.wait_for(lambda: not self._inside, _HOLD_PATIENCE_S)

    def _release(self) -> None:
        with self._changed:
            self._forking -= 1
            self._changed.notify_all()

    def _end(self) -> None:
        with self._changed:
            watchers = list(self._watchers)
        for watcher in watchers:
            watcher.stop()
        with self._changed:
            self._changed.wait_for(lambda: not self._inside, _HOLD_PATIENCE_S)

    def _reset(self) -> None:
        self._changed = threading.Condition()
        self._inside = self._forking = 0


_grpc_use = _GrpcUse()

#: Pings on an idle connection, so that a vanished ETCD host is noticed between changes. ETCD refuses more than one in 5 s. gRPC
#: would stop after two without data, and a quiet cluster has none; and it waits a minute for an answer unless told twice.
_GRPC_OPTIONS = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
)


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

    Parameters
    ----------
    value
        UTF-8 JSON, as found under the worker's key.
    default_port
        HTTP port, 1 to 65535, of a worker that registers none, as those of some editions do.

    Raises
    ------
    ValueError
        The value is not such JSON, the identity is malformed, or the worker's HTTP server is disabled (port 0).
    """
    try:
        entry = json.loads(value)
        identity = WorkerIdentity(entry["Identity"]["version"], bytes.fromhex(entry["Identity"]["identifier"]))
        address = entry["WorkerNetAddress"]
        host, port = address["Host"], address.get("HttpServerPort")
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not a worker's registration: {error!r}") from error
    port = default_port if port is None else port
    # Not isinstance: JSON's true, and 1.0 where the identity's version is meant, would pass and break the ring later.
    if type(identity.version) is not int:
        raise ValueError(f"identity version {identity.version!r} is no whole number")
    if not isinstance(host, str) or not host or type(port) is not int or not 0 <= port <= 65535:
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
        # By process: a forked child inherits its parent's watcher without the thread, and perhaps with the lock taken.
        self._watchers: dict[int, _Watcher] = {}

    @property
    def known(self) -> Snapshot | None:
        """The latest snapshot, if there is one; asks nobody."""
        return self._registry.known

    def snapshot(self) -> Snapshot:
        """The latest snapshot; only the first call ever waits, at most the time-out for each endpoint."""
        known = self._registry.known
        if known is None:
            return self._watcher().list_now()
        watcher = self._watchers.get(os.getpid())
        if (watcher is None or not watcher.is_running) and not _is_forked_from_grpc():
            self._watcher().start()
        return known

    def refresh(self) -> Snapshot:
        """List now, and wait for it.

        Raises
        ------
        MembershipError
            No endpoint gave the workers (what is known stays known), or this is a forked child, which goes on with the workers
            that it inherited.
        """
        if self._registry.known is not None and _is_forked_from_grpc():
            raise MembershipError("this forked child goes on with the workers inherited: its parent used gRPC, so it cannot")
        return self._watcher().list_now()

    def close(self) -> None:
        """Stop the watch, if there is one. Idempotent; using the membership again starts it again."""
        watcher = self._watchers.get(os.getpid())
        if watcher is not None:
            watcher.stop(timeout_s=1)

    def _watcher(self) -> _Watcher:
        made = _Watcher(self._registry)
        watcher = self._watchers.setdefault(os.getpid(), made)
        if watcher is made:
            # The thread knows the registry only, so it ends when nobody holds this membership any more. Without waiting for it:
            # the garbage collector may run anywhere, with any lock held.
            weakref.finalize(self, watcher.stop).atexit = False
        return watcher


class _Registry:
    """The registrations as last seen, and how they are read."""

    def __init__(self, settings: Settings, initial: Snapshot | None, connect: Callable[[str, int], Any]) -> None:
        self._settings = settings
        self._prefix = f"/ServiceDiscovery/{settings.cluster_name}/"
        self._connect = connect
        self._entries: dict[bytes, tuple[WorkerIdentity, WorkerAddress]] = {}
        self._complained: dict[bytes, int] = {}
        self.known = initial

    @property
    def patience_s(self) -> float:
        """Seconds that a listing takes at most: one under way and one more, of every endpoint, each logging in first."""
        return 4 * self._settings.etcd_timeout_s * len(self._settings.etcd_endpoints) + 1

    def list_anywhere(self) -> tuple[Any, int]:
        """List at the first endpoint that answers; gives its client and the revision."""
        import_etcd3()  # Not installed: no endpoint's fault.
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
        user = f" as user {self._settings.etcd_username!r}" if self._settings.etcd_username is not None else ""
        raise MembershipError(
            f"no ETCD endpoint gave the workers of cluster {self._settings.cluster_name!r}{user}: tried {', '.join(failures)}"
        ) from cause

    def _list(self, client: Any) -> int:
        response = client.get_prefix_response(self._prefix)
        entries = {}
        keys = {item.key for item in response.kvs}
        self._complained = {key: revision for key, revision in self._complained.items() if key in keys}
        for item in response.kvs:
            entry = self._decode(item.key, item.value, item.mod_revision)
            if entry is not None:
                entries[item.key] = entry
        if not entries and self.known is None:
            why = f"its {len(keys)} entries are unusable" if keys else "check the cluster's name, and that workers use ETCD"
            raise MembershipError(f"no worker is registered under {self._prefix}: {why}")
        self._entries = entries
        self._publish(response.header.revision)
        return int(response.header.revision)

    def _decode(self, key: bytes, value: bytes, revision: int) -> tuple[WorkerIdentity, WorkerAddress] | None:
        try:
            return decode_worker(value, default_port=self._settings.worker_http_port)
        except ValueError as error:
            if self._complained.get(key) != revision:
                self._complained[key] = revision
                logger.warning("skipped the registration %s: %s", key.decode("utf-8", "replace"), error)
            return None

    def watch(self, client: Any, revision: int, started: Callable[[Any], None]) -> None:
        """Apply changes after `revision` until the stream breaks off. Hands the stream to `started`.

        Raises
        ------
        Exception
            Whatever ended the stream; it never ends well.
        """
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
        before = set(threading.enumerate())
        stream = etcd3.etcdrpc.WatchStub(client.channel).Watch(
            _requests(request, ended), metadata=client.metadata, timeout=interval if interval > 0 else None
        )
        helpers = [thread for thread in threading.enumerate() if thread.daemon and thread not in before]
        started(stream)
        try:
            for response in stream:
                if response.canceled or response.compact_revision:
                    compacted = f"history up to revision {response.compact_revision} is compacted"
                    raise MembershipError(f"ETCD cancelled it: {response.cancel_reason or compacted}")
                for event in response.events:
                    self._apply(event)
                if response.events:
                    self._publish(response.header.revision)
            raise MembershipError("ETCD ended it")
        finally:
            ended.set()
            stream.cancel()
            # gRPC's own threads hold locks of the call for a moment yet: neither collect it nor fork then.
            for thread in helpers:
                thread.join(_HELPER_PATIENCE_S)

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
        """Make a snapshot of the entries, unless it would be empty or the same.

        Revisions grow, except that of an ETCD restored from a backup: a listing is the truth, so it is believed then, too.
        """
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
    """The thread of one process that keeps a registry current. It starts when wanted, and may be stopped and started again."""

    def __init__(self, registry: _Registry) -> None:
        self._registry = registry
        self._pid = os.getpid()
        #: Guards who waits, and the beginning and end of the thread.
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_wanted = False
        self._waiting: list[Future[None]] = []
        self._stream: Any = None
        #: Set when the thread should look up: it is not wanted any more, or somebody waits for a listing.
        self._wake = threading.Event()

    @property
    def is_running(self) -> bool:
        """Whether the registry is being kept current."""
        return self._is_wanted

    def start(self) -> None:
        """Begin, if the thread does not run already. Waits for nothing."""
        with self._lock:
            self._start()

    def list_now(self) -> Snapshot:
        """What a listing that begins after this call gives. Starts the thread if need be.

        Raises
        ------
        MembershipError
            No endpoint gave the workers.
        """
        listed: Future[None] = Future()
        with self._lock:
            self._waiting.append(listed)
            self._start()
            self.interrupt()
        try:
            # The time-outs of the calls bound this already, but gRPC forgets them in some forked children.
            listed.result(self._registry.patience_s)
        except FutureTimeoutError:
            raise MembershipError(f"ETCD gave no answer in {self._registry.patience_s:g} s") from None
        finally:
            del listed  # It holds the error, whose traceback would hold it.
        known = self._registry.known
        if known is None:  # pragma: no cover - a listing gives one, or raises
            raise MembershipError("no workers are known")
        return known

    def stop(self, timeout_s: float = 0.0) -> None:
        """End the thread, waiting at most so long for it; does nothing in a forked child, where there is none."""
        if os.getpid() != self._pid:
            return
        # Not under the lock: the garbage collector may call this in a thread that holds it.
        thread = self._thread
        self._is_wanted = False
        self.interrupt()
        if timeout_s and thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)

    def _start(self) -> None:
        self._is_wanted = True
        if self._thread is None:
            _grpc_use.add(self)
            self._thread = threading.Thread(target=self._run, name="alluxio-arrow-etcd", daemon=True)
            self._thread.start()

    def interrupt(self) -> None:
        """Make the thread look up: it ends its watch and lists anew, if it is still wanted."""
        self._wake.set()
        stream = self._stream
        if stream is not None:
            stream.cancel()

    def _started(self, stream: Any) -> None:
        self._stream = stream
        # In this order: who set it before could not see the stream to cancel it, and who sets it later can.
        if self._wake.is_set() or not self._is_wanted:
            stream.cancel()

    def _run(self) -> None:
        pause, is_cut_off = _BACKOFF_S, False
        while True:
            with self._lock:
                waiting, self._waiting = self._waiting, []
                self._wake.clear()
                if not self._is_wanted and not waiting:
                    self._thread = None
                    return
            client = None
            began = time.monotonic()
            try:
                with _grpc_use:
                    try:
                        client, revision = self._registry.list_anywhere()
                        while waiting:
                            waiting.pop().set_result(None)
                        if is_cut_off:
                            logger.info("ETCD answers again")
                            is_cut_off = False
                        self._registry.watch(client, revision, self._started)
                    finally:
                        self._stream = None
                        if client is not None:
                            client.close()
            except Exception as error:  # noqa: BLE001 - the top of the thread: whatever ends a watch leads to a new listing
                while waiting:
                    waiting.pop().set_exception(error)
                known = self._registry.known
                if known is None:
                    # Whoever asked has been told; the next one to ask begins anew.
                    self._is_wanted = False
                    continue
                # The end of the refresh interval arrives as a time-out of the stream, too.
                if self._wake.is_set() or (client is not None and _is_deadline(error)):
                    continue
                if client is not None:
                    logger.info("the watch on ETCD ended: %s", _reason(error))
                elif not is_cut_off:
                    logger.warning("going on with the %d workers known: %s", len(known.addresses), error)
                    is_cut_off = True
                # A watch that breaks off at once, again and again, must not become a storm of listings.
                pause = _BACKOFF_S if time.monotonic() - began > _MAX_BACKOFF_S else min(2 * pause, _MAX_BACKOFF_S)
                self._wake.wait(_random.uniform(pause / 2, pause))


def _is_forked_from_grpc() -> bool:
    """Whether this process was forked from one that used gRPC: using it here, too, may hang or abort the process.

    Such a child goes on with the workers it inherited (or was sent with a pickled filesystem).
    """
    return _grpc_use.pid not in (None, os.getpid())


def _open_client(settings: Settings, host: str, port: int) -> Any:
    _grpc_use.begin()
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


def _reason(error: BaseException) -> str:
    """The telling part of an error of etcd3 or gRPC; never credentials, which neither puts there."""
    if isinstance(error, MembershipError):
        return str(error)
    # etcd3 replaces some of gRPC's errors by its own, which do not say what happened.
    rpc = error if hasattr(error, "details") else error.__context__
    if rpc is not None and hasattr(rpc, "details") and hasattr(rpc, "code"):
        return f"{rpc.code().name}: {rpc.details()}"
    return f"{type(error).__name__}: {error}"
