"""``bench``: one real file, read with and without the cache, and what bounds it."""

from __future__ import annotations

import argparse
import random
import shlex
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from alluxio_arrow.cli.files import status_of
from alluxio_arrow.cli.outcome import EXIT_OK, UsageError
from alluxio_arrow.cli.output import Cell, Column, human_size, human_time
from alluxio_arrow.cli.probe import ask_health
from alluxio_arrow.cli.session import Session

__all__ = ["Measured", "run", "verdict"]

#: Bytes per read: of a scan in order, and at random places.
_SCAN_BYTES = 8 << 20
_RANDOM_BYTES = 64 << 10
_RANDOM_READS = 32

#: Parts of the time from which on something is what bounds the whole.
_CPU_BOUND = 0.75
_LATENCY_BOUND = 0.5


@dataclass(frozen=True, slots=True)
class Measured:
    """One way of reading, measured.

    Attributes
    ----------
    source
        ``cache`` (which falls back to the under store) or ``under store``.
    bytes
        Bytes of one scan.
    scan_s, cpu_s
        Seconds of wall clock, and of this process's CPU, for one scan; medians of all rounds.
    random_s
        Seconds of one small read at a random place, median.
    bytes_cache, bytes_ufs, requests
        What one scan received from workers and from the under store, and its page requests.
    """

    source: str
    bytes: int
    scan_s: float
    cpu_s: float
    random_s: float
    bytes_cache: int = 0
    bytes_ufs: int = 0
    requests: int = 0


def run(session: Session, arguments: argparse.Namespace) -> int:
    """Measure and judge."""
    client, out = session.client, session.out
    status = status_of(client, arguments.path)
    if status.is_directory:
        raise UsageError(f"bench reads one file, and {arguments.path} is a directory")
    size = min(status.size, arguments.max_bytes)
    if not size:
        raise UsageError(f"{arguments.path} is empty")
    own = client.mapper.to_arrow(status.path)
    health = [ask_health(client, address) for address in client.candidates(status.path)]
    round_trip_s = next((each.round_trip_s for each in health if each.round_trip_s is not None), None)
    # Once unmeasured: connections are opened, and page sizes verified.
    with session.handler.open_input_file(own) as file:
        file.read_at(1, 0)
    out.progress("reading with the cache ...")
    ways = [_measure("cache", lambda: session.handler.open_input_file(own), size, arguments.rounds, client.stats)]
    if client.ufs is not None:
        out.progress("reading from the under store ...")
        store = client.ufs.filesystem
        ways.append(_measure("under store", lambda: store.open_input_file(own), size, arguments.rounds))
    out.progress(None)
    sayings = verdict(
        ways, round_trip_s=round_trip_s, window=client.settings.window, path=own, is_local=client.mapper.scheme == "file"
    )
    if out.as_json:
        measured = [{**asdict(way), "bytes_per_s": way.bytes / way.scan_s} for way in ways]
        out.json({"path": own, "size": status.size, "round_trip_s": round_trip_s, "measured": measured, "verdict": sayings})
        return EXIT_OK
    _show(session, ways, round_trip_s, size, arguments.rounds)
    for saying in sayings:
        out.paragraph("- ", saying)
    return EXIT_OK


def _measure(
    source: str, open_file: Callable[[], Any], size: int, rounds: int, stats: Callable[[], Any] | None = None
) -> Measured:
    scans, cpus, randoms, change = [], [], [], None
    places = random.Random(size)
    for _ in range(rounds):
        counted = stats() if stats else None
        began, cpu_began = time.perf_counter(), time.process_time()
        with open_file() as file:
            position = 0
            while position < size:
                read = len(file.read_at(min(_SCAN_BYTES, size - position), position))
                if not read:
                    raise OSError(f"the file ended after {position} of {size} bytes: it changed while it was read")
                position += read
        scans.append(time.perf_counter() - began)
        cpus.append(time.process_time() - cpu_began)
        change = stats() - counted if stats else None
        with open_file() as file:
            length = min(_RANDOM_BYTES, size)
            for _ in range(_RANDOM_READS):
                began = time.perf_counter()
                file.read_at(length, places.randint(0, size - length))
                randoms.append(time.perf_counter() - began)
    return Measured(
        source,
        size,
        median(scans),
        median(cpus),
        median(randoms),
        bytes_cache=change.bytes_cache if change else 0,
        bytes_ufs=change.bytes_ufs if change else size,
        requests=change.page_requests if change else 0,
    )


def verdict(ways: list[Measured], *, round_trip_s: float | None, window: int, path: str, is_local: bool) -> list[str]:
    """What bounds reading, and what would change that, in sentences.

    Parameters
    ----------
    ways
        The cache's measurement, and the under store's if there is one.
    round_trip_s
        Seconds for a request that does nothing, or None if no worker answers.
    window
        Requests in flight within one read.
    path
        The file, for the advice.
    is_local
        Whether the under store is this machine's disk, which no cache on a network beats.
    """
    cache = ways[0]
    sayings = []
    missing = cache.bytes_ufs / cache.bytes
    if missing > 0.01:
        sayings.append(
            f"{100 * missing:.0f}% of the bytes came from the under store, not being cached; to change it: "
            f"alluxio-arrow load --wait {shlex.quote(path)}"
        )
    if missing > 0.5:
        sayings.append("so the under store bounds this, and the figures say little about the cache.")
    elif cache.cpu_s / cache.scan_s >= _CPU_BOUND:
        sayings.append(
            f"bound by this process's CPU ({100 * cache.cpu_s / cache.scan_s:.0f}% of one core): several processes, or a "
            "faster machine, would read more."
        )
    elif (
        round_trip_s is not None and cache.requests and cache.requests * round_trip_s / window / cache.scan_s >= _LATENCY_BOUND
    ):
        sayings.append(
            f"bound by the time requests take ({cache.requests} of {human_time(round_trip_s)}, {window} at a time): raise the "
            "window, or read several files at once."
        )
    else:
        sayings.append(
            "bound by what one worker and the network to it give: a file is on one worker, so several files read at once "
            "can be faster."
        )
    if len(ways) > 1:
        sayings.append(_comparison(cache, ways[1], is_local=is_local))
    return sayings


def _comparison(cache: Measured, ufs: Measured, *, is_local: bool) -> str:
    def ratio(one: float, other: float) -> str:
        times, word = (other / one, "faster") if one <= other else (one / other, "slower")
        return f"{times:.0f} times {word}" if times >= 10 else f"{times:.1f} times {word}"

    in_order, at_random = ratio(cache.scan_s, ufs.scan_s), ratio(cache.random_s, ufs.random_s)
    text = f"against the under store, the cache is {in_order} in order and {at_random} at random places."
    return text + (" The under store is this machine's own disk, which is no fair rival." if is_local else "")


def _show(session: Session, ways: list[Measured], round_trip_s: float | None, size: int, rounds: int) -> None:
    out = session.out
    trip = f", {human_time(round_trip_s)} to the worker and back" if round_trip_s is not None else ", no worker answers"
    out.paragraph("", f"{human_size(size)}, median of {rounds} rounds{trip}")
    columns = [
        Column("READ FROM"),
        Column("IN ORDER", right=True),
        Column("RANDOM", right=True),
        Column("CPU", right=True),
        Column("CACHED", right=True),
        Column("REQUESTS", right=True),
    ]
    out.table(
        columns,
        [
            [
                Cell(way.source, "bold"),
                f"{human_size(way.bytes / way.scan_s)}/s",
                human_time(way.random_s),
                f"{100 * way.cpu_s / way.scan_s:.0f}%",
                f"{100 * way.bytes_cache // way.bytes}%" if way.source == "cache" else "-",
                str(way.requests) if way.source == "cache" else "-",
            ]
            for way in ways
        ],
    )
