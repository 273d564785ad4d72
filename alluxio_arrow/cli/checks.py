"""The checks of `doctor`. Each looks at one thing and gives findings; none changes anything."""

from __future__ import annotations

import platform
import re
import time
from collections import deque
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from functools import cached_property
from importlib import metadata
from typing import Any

import urllib3

from alluxio_arrow.cli.findings import Finding
from alluxio_arrow.cli.outcome import one_line
from alluxio_arrow.cli.output import human_size, human_time
from alluxio_arrow.cli.placement import judge_placement
from alluxio_arrow.cli.probe import Health, ask_health, find_page_size, has_page, in_parallel, sample_files
from alluxio_arrow.cli.session import Session
from alluxio_arrow.errors import AlluxioError, MembershipError
from alluxio_arrow.etcd_protobuf import import_etcd3
from alluxio_arrow.membership import StaticMembership, _open_client
from alluxio_arrow.paths import is_addressable
from alluxio_arrow.protocol import FileStatus, decode_statuses, info_target
from alluxio_arrow.ring import Snapshot, WorkerAddress
from alluxio_arrow.ufs import UnderStore

__all__ = ["Checks"]

_DISTRIBUTION = "alluxio_arrow"

#: Seconds that clocks may differ: up to the first nothing is said, beyond the second S3 refuses signatures.
_CLOCK_WARN_S = 5
_CLOCK_FAIL_S = 900

#: Page 0 is asked for of at most so many pairs of a file and a worker.
_MAX_PROBES = 2000

#: Directories of the under store that are listed to find a file to read.
_LISTINGS = 10

#: What connection errors say, and what to do then.
_WORKER_ADVICE = (
    (
        "refused",
        "nothing listens there: is the worker running, with alluxio.worker.http.server.enabled=true, on this port?",
    ),
    (
        "resolve|name or service|nodename",
        "this machine does not know the name: fix DNS, or set alluxio.worker.hostname to one it knows",
    ),
    (
        "within|sent nothing|timed out",
        "a firewall, or a worker that hangs: open the port from here to there, or restart the worker",
    ),
    (
        "without an answer|HTTP status|broke",
        "another program seems to listen on that port: check worker_http_port, and proxies between",
    ),
)

_UFS_ADVICE = (
    (
        "access ?denied|forbidden|403|401|credential|signature|invalidaccesskey|access key|permission",
        "check the credentials of the under store (target_options, or the store's own environment variables)",
    ),
    (
        "resolve|connect|timed out|timeout|refused",
        "the under store's address cannot be reached from here: check endpoint_url in target_options, and the network",
    ),
    ("no module|install", "install the package that fsspec needs for this protocol"),
)


def _advice(table: tuple[tuple[str, str], ...], problem: str, default: str = "") -> str:
    return next((advice for pattern, advice in table if re.search(pattern, problem, re.IGNORECASE)), default)


class Checks:
    """What `doctor` looks at, in the order in which one failure explains the next.

    Parameters
    ----------
    session
        Configuration and client.
    path
        Where loaded files lie, in any form that the filesystem takes, or None.
    files
        Files looked at, at most.
    """

    def __init__(self, session: Session, path: str | None, files: int) -> None:
        self._session = session
        self._path = path
        self._files = files
        self._snapshot: Snapshot | None = None
        self._good: list[WorkerAddress] = []
        self._clocks: list[tuple[str, float]] = []

    def run(self) -> Iterator[Finding]:
        """All findings, one after the other as they are made."""
        for name, check in (
            ("versions", self._versions),
            ("etcd", self._membership),
            ("workers", self._workers),
            ("under store", self._under_store),
            ("paths", self._paths),
            ("page size", self._page_sizes),
            ("virtual nodes", self._virtual_nodes),
            ("clock", self._clock),
        ):
            try:
                yield from check()
            except Exception as error:  # noqa: BLE001 - a check that breaks is a finding, and the others go on
                yield Finding(name, "fail", one_line(error), "run doctor again with --debug and report this")

    # -- this machine ------------------------------------------------------------------------------------------------------

    def _versions(self) -> Iterator[Finding]:
        wrong, right = [], [f"Python {platform.python_version()}"]
        for requirement in metadata.requires(_DISTRIBUTION) or ():
            if ";" in requirement:
                continue  # an extra's
            name, pins = _split_requirement(requirement)
            try:
                version = metadata.version(name)
            except metadata.PackageNotFoundError:
                wrong.append(f"{name} is missing")
                continue
            if all(_satisfies(version, operator, wanted) for operator, wanted in pins):
                right.append(f"{name} {version}")
            else:
                wrong.append(f"{name} {version} is installed, {requirement} is needed")
        if not wrong:
            try:
                import_etcd3()
            except ImportError as error:
                wrong.append(f"etcd3 cannot be imported: {one_line(error)}")
        if wrong:
            yield Finding("versions", "fail", "; ".join(wrong), f"pip install --upgrade {_DISTRIBUTION}")
        else:
            yield Finding("versions", "ok", ", ".join(right))

    def _clock(self) -> Iterator[Finding]:
        endpoint = _endpoint_url(dict(self._session.settings.target_options))
        if endpoint is not None and (answer := _http_date(endpoint)) is not None:
            self._clocks.append(("the under store", answer))
        if not self._clocks:
            yield Finding("clock", "skip", "neither ETCD nor the under store told its time over HTTP")
            return
        for who, ahead_s in self._clocks:
            off = abs(ahead_s)
            # HTTP tells whole seconds.
            if off <= _CLOCK_WARN_S:
                yield Finding("clock", "ok", f"agrees with {who}'s within {_CLOCK_WARN_S} s")
                continue
            detail = f"this machine's clock is {human_time(off)} {'behind' if ahead_s > 0 else 'ahead of'} {who}'s"
            yield Finding(
                "clock",
                "fail" if off > _CLOCK_FAIL_S else "warn",
                detail,
                "set the clock by NTP: S3 refuses signatures 15 minutes off",
            )

    # -- the cluster -------------------------------------------------------------------------------------------------------

    def _membership(self) -> Iterator[Finding]:
        settings, client = self._session.settings, self._session.client
        for host, port in settings.etcd_endpoints:
            yield self._endpoint(host, port)
        try:
            self._snapshot = client.membership.refresh()
        except MembershipError as error:
            yield Finding("etcd", "fail", one_line(error), self._membership_advice(str(error)))
            return
        count = len(self._snapshot.addresses)
        if not isinstance(client.membership, StaticMembership):
            yield Finding(
                "etcd", "ok", f"{count} workers of cluster {settings.cluster_name!r} at revision {self._snapshot.revision}"
            )
        elif count > 1:
            yield Finding(
                "membership",
                "warn",
                f"{count} workers are listed by worker_hosts; their places on the ring are made of their host names",
                "if the servers register in ETCD, their places differ: use etcd_hosts",
            )
        else:
            yield Finding("membership", "ok", "one worker, listed by worker_hosts")

    def _endpoint(self, host: str, port: int) -> Finding:
        settings = self._session.settings
        name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        scheme = "https" if settings.etcd_ca_cert or settings.etcd_cert_cert else "http"
        try:
            answer = urllib3.PoolManager(
                ca_certs=settings.etcd_ca_cert, cert_file=settings.etcd_cert_cert, key_file=settings.etcd_cert_key
            ).request("GET", f"{scheme}://{name}/version", timeout=settings.etcd_timeout_s, retries=False)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            reason = getattr(error, "original_error", None) or error.__cause__ or error
            advice = f"check etcd_hosts, and that port {port} is open from here"
            if re.search("ssl|tls|certificate", str(error), re.IGNORECASE):
                advice = "check etcd_ca_cert, and etcd_cert_cert with etcd_cert_key"
            elif re.search("closed|reset|aborted", str(error), re.IGNORECASE):
                advice = "does it speak TLS? Then set etcd_ca_cert"
            return Finding("etcd", "fail", f"{name} does not answer: {' '.join(str(reason).split())}", advice)
        skew = _skew(answer.headers.get("Date"))
        if skew is not None:
            self._clocks.append((f"ETCD {name}", skew))
        matched = re.search(rb'"etcdserver":\s*"([^"]+)"', answer.data)
        if matched is None:
            return Finding(
                "etcd", "warn", f"{name} answers, but not as ETCD does", "is etcd_hosts right? A proxy may stand between"
            )
        return Finding("etcd", "ok", f"{name} answers, version {matched.group(1).decode()}")

    def _membership_advice(self, problem: str) -> str:
        if re.search(
            "UNAUTHENTICATED|authentication|user name is empty|permission denied|invalid auth", problem, re.IGNORECASE
        ):
            return "check etcd_username and etcd_password, and that the user may read /ServiceDiscovery/"
        if "no worker is registered" not in problem:
            return "check etcd_hosts, TLS and the network"
        names = self._cluster_names()
        if names:
            return f"set cluster_name; registered there: {', '.join(names)}"
        return "no cluster is registered at all: do the workers use this ETCD (alluxio.worker.membership.manager.type=ETCD)?"

    def _cluster_names(self) -> list[str]:
        settings = self._session.settings
        for host, port in settings.etcd_endpoints:
            try:
                client = _open_client(settings, host, port)
                try:
                    found = [
                        item.key.decode("utf-8", "replace") for item in client.get_prefix_response("/ServiceDiscovery/").kvs
                    ]
                finally:
                    client.close()
            except Exception:  # noqa: BLE001, S112 - etcd3 lets through whatever gRPC raises; this is only a hint
                continue
            return sorted({key.split("/")[2] for key in found})
        return []

    def _workers(self) -> Iterator[Finding]:
        if self._snapshot is None:
            yield Finding("workers", "skip", "no workers are known")
            return
        client = self._session.client
        health = in_parallel(lambda address: ask_health(client, address), self._snapshot.addresses.values())
        self._good = [each.address for each in health if each.is_good]
        for each in health:
            if not each.is_good:
                yield Finding(
                    "workers", "fail", each.problem, _advice(_WORKER_ADVICE, each.problem, "look at the worker's log")
                )
        if self._good:
            yield Finding("workers", "ok", _round_trips(health))

    # -- files -------------------------------------------------------------------------------------------------------------

    def _under_store(self) -> Iterator[Finding]:
        ufs, settings = self._session.client.ufs, self._session.settings
        if ufs is None:
            why = "fallback is false" if not settings.fallback else "no under store is configured"
            yield Finding(
                "under store", "warn", f"{why}: only what is cached can be read", "set target_protocol (and target_options)"
            )
            return
        store = settings.target_protocol or "the given filesystem"
        try:
            _ = ufs.filesystem
            if self._path is None:
                yield Finding("under store", "skip", f"{store} is configured; give doctor a PATH to have it read")
                return
            canonical = self._session.client.mapper.to_ufs(self._path)
            status = ufs.status(canonical)
            if status is None:
                yield Finding(
                    "under store", "fail", f"{self._path} does not exist there", "check the path, its bucket and target_options"
                )
                return
            # Without the cluster's help, so that this says something when that is what is broken.
            file = status if not status.is_directory else _some_file(ufs, canonical)
            if file is not None and file.size:
                ufs.read_ranges(file.path, [(0, 1)], [memoryview(bytearray(1))])
        except Exception as error:  # noqa: BLE001 - every store has errors of its own
            text = one_line(error)
            yield Finding(
                "under store",
                "fail",
                f"{store}: {text}",
                _advice(_UFS_ADVICE, f"{type(error).__name__} {text}", "check target_protocol and target_options"),
            )
            return
        read = "was listed and read" if file is not None else "was listed; no file was found in it to be read"
        yield Finding("under store", "ok", f"{store}: {self._path} {read}")

    @cached_property
    def _sample(self) -> list[FileStatus]:
        """Files to ask for."""
        if self._path is None:
            return []
        client = self._session.client
        return sample_files(client, client.mapper.to_ufs(self._path), self._files)

    def _sample_or_finding(self, check: str) -> Finding | None:
        """Why there is no sample, if so."""
        if self._path is None:
            return Finding(check, "skip", "give doctor a PATH below which files are loaded (or --ufs-root)")
        if not self._good:
            return Finding(check, "skip", "no worker answers")
        try:
            if not self._sample:
                return Finding(check, "skip", f"{self._path} has no files that are not empty")
        except (AlluxioError, OSError) as error:
            return Finding(check, "skip", f"{self._path} cannot be listed: {one_line(error)}")
        return None

    def _paths(self) -> Iterator[Finding]:
        """Whether cluster and under store call the same file the same."""
        if (skipped := self._sample_or_finding("paths")) is not None:
            yield skipped
            return
        client = self._session.client
        named = [file for file in self._sample if is_addressable(file.path)]
        if client.ufs is None or not named:
            yield Finding(
                "paths",
                "skip",
                "there is no under store to compare with" if named else "workers cannot be asked about these names",
            )
            return
        unknown, outdated = [], []
        for file in named[:5]:
            current = client.ufs.status(file.path)
            reply = client.transport.get(self._good[0], info_target(file.path))
            known = (
                decode_statuses(reply.body, worker=str(self._good[0]), path=file.path) if reply and reply.status == 200 else []
            )
            if len(known) != 1 or known[0].path != file.path:
                unknown.append(file.path)
            elif current is not None and not known[0].same_version(current):
                outdated.append(file.path)
        if unknown:
            yield Finding(
                "paths",
                "fail",
                f"workers know no {unknown[0]}",
                "set ufs_root to the cluster's alluxio.dora.client.ufs.root: it may call the store otherwise (s3a:// for s3://)",
            )
        elif outdated:
            yield Finding(
                "paths",
                "warn",
                f"the cluster has an older version of {len(outdated)} of {len(named[:5])} files, such as {outdated[0]}",
                "they are read from the under store; to have them cached, load them again (alluxio-arrow load PATH)",
            )
        else:
            yield Finding("paths", "ok", f"workers and under store agree on {len(named[:5])} files")

    @cached_property
    def _holders(self) -> dict[str, set[WorkerAddress]]:
        """Which of the healthy workers hold page 0 of the files of the sample."""
        client = self._session.client
        files = self._sample[: max(3, _MAX_PROBES // max(len(self._good), 1))]
        pairs = [(file.path, address) for file in files for address in self._good]

        def holds(pair: tuple[str, WorkerAddress]) -> bool:
            try:
                return has_page(client, pair[1], pair[0])
            except OSError:
                return False  # It died since it was asked for its health.

        found: dict[str, set[WorkerAddress]] = {file.path: set() for file in files}
        for (path, address), is_there in zip(pairs, in_parallel(holds, pairs), strict=True):
            if is_there:
                found[path].add(address)
        return found

    def _page_sizes(self) -> Iterator[Finding]:
        if (skipped := self._sample_or_finding("page size")) is not None:
            yield skipped
            return
        sizes: dict[WorkerAddress, int] = {}
        for file in self._sample:
            for address in self._holders.get(file.path, set()) - set(sizes):
                size = find_page_size(self._session.client, address, file)
                if size is not None:
                    sizes[address] = size
        stated = self._session.settings.page_size
        if not sizes:
            yield Finding("page size", "skip", "no file of several pages is cached here; load one and ask again")
            return
        wrong = {address: size for address, size in sizes.items() if stated not in (None, size)}
        for size in sorted(set(wrong.values())):
            whose = sorted(str(address) for address in wrong if wrong[address] == size)
            yield Finding(
                "page size",
                "fail",
                f"{stated:,} bytes are configured, but pages of {_some(whose)} have {size:,}",
                f"set page_size={size}, or leave it out to have it detected (alluxio.worker.page.store.page.size)",
            )
        if len(set(sizes.values())) > 1:
            each = ", ".join(f"{address}: {human_size(size)}" for address, size in sorted(sizes.items()))
            yield Finding(
                "page size", "warn", f"workers differ: {each}", "give all workers the same alluxio.worker.page.store.page.size"
            )
        elif not wrong:
            size = next(iter(sizes.values()))
            yield Finding("page size", "ok", f"{human_size(size)} ({size:,} bytes), as told by {len(sizes)} workers")

    def _virtual_nodes(self) -> Iterator[Finding]:
        if (skipped := self._sample_or_finding("virtual nodes")) is not None or self._snapshot is None:
            yield skipped or Finding("virtual nodes", "skip", "no workers are known")
            return
        configured = self._session.settings.virtual_nodes
        if len(self._snapshot.addresses) == 1:
            yield Finding("virtual nodes", "ok", "one worker owns everything, whatever the count")
            return
        identities = {address: identity for identity, address in self._snapshot.addresses.items()}
        holders = {path: {identities[address] for address in who} for path, who in self._holders.items()}
        placement = judge_placement(self._snapshot.ring.workers, configured, holders)
        if not placement.files:
            yield Finding(
                "virtual nodes",
                "skip",
                f"none of {len(holders)} files below {self._path} is cached",
                "load some, then ask again",
            )
            return
        seen = f"{placement.matched} of {placement.files} cached files are with the owner that {configured} gives"
        if placement.fits:
            few = "" if placement.is_certain else "; that few may be chance, so give a PATH with more"
            yield Finding("virtual nodes", "ok", seen + few)
        elif placement.others:
            counts = ", ".join(map(str, placement.others[:4]))
            yield Finding(
                "virtual nodes",
                "fail",
                f"{seen}; {counts} {'fits' if len(placement.others) == 1 else 'fit'}",
                f"set virtual_nodes={placement.others[0]}"
                + ("" if len(placement.others) == 1 else ", after a look at the servers' configuration")
                + " (alluxio.user.worker.selection.policy.consistent.hash.virtual.node.count.per.worker)",
            )
        else:
            yield Finding(
                "virtual nodes",
                "warn",
                f"{seen}, and no usual count fits better",
                "use etcd_hosts, if the servers register in ETCD: a list of hosts makes another ring"
                if isinstance(self._session.client.membership, StaticMembership)
                else "workers came or went since the files were loaded (load them again), or the servers have an unusual count",
            )


def _some_file(ufs: UnderStore, directory: str) -> FileStatus | None:
    """A file that is not empty from below `directory`, if a few listings find one."""
    waiting = deque([directory])
    for _ in range(_LISTINGS):
        if not waiting:
            break
        children = ufs.list(waiting.popleft()) or []
        for child in children:
            if child.size:
                return child
        waiting.extend(child.path for child in children if child.is_directory)
    return None


def _round_trips(health: list[Health]) -> str:
    times = [each.round_trip_s for each in health if each.round_trip_s is not None]
    return f"{len(times)} of {len(health)} answer, round trips {human_time(min(times))} to {human_time(max(times))}"


def _some(names: list[str]) -> str:
    """The first of `names`, and how many more there are."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _split_requirement(requirement: str) -> tuple[str, list[tuple[str, str]]]:
    """``etcd3==0.12.0`` -> ``etcd3`` and its pins."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    return name.group() if name else requirement, re.findall(r"(==|>=|<=|<|>|!=)\s*([0-9][0-9A-Za-z.]*)", requirement)


def _satisfies(version: str, operator: str, wanted: str) -> bool:
    have, want = _release(version), _release(wanted)
    length = max(len(have), len(want))
    have, want = have + (0,) * (length - len(have)), want + (0,) * (length - len(want))
    return {
        "==": have == want,
        "!=": have != want,
        ">=": have >= want,
        "<=": have <= want,
        ">": have > want,
        "<": have < want,
    }[operator]


def _release(version: str) -> tuple[int, ...]:
    """The numbers of a version, without what follows them (``rc1``, ``+local``)."""
    matched = re.match(r"[0-9]+(\.[0-9]+)*", version)
    return tuple(int(part) for part in matched.group().split(".")) if matched else ()


def _endpoint_url(options: dict[str, Any]) -> str | None:
    inner = options.get("client_kwargs")
    url = options.get("endpoint_url") or (inner.get("endpoint_url") if isinstance(inner, dict) else None)
    return url if isinstance(url, str) and url.startswith("http") else None


def _http_date(url: str) -> float | None:
    """Seconds by which the clock of the server behind `url` is ahead of ours; None if it does not tell."""
    try:
        answer = urllib3.PoolManager().request("HEAD", url, timeout=5.0, retries=False)
    except (urllib3.exceptions.HTTPError, OSError, ValueError):
        return None
    return _skew(answer.headers.get("Date"))


def _skew(date: str | None) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() - time.time() if date else None
    except (TypeError, ValueError):
        return None
