"""What is timed, in the process of one client. Each workload returns a :class:`Measure`."""

from __future__ import annotations

import gc
import random
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from clients.base import BaseClient


@dataclass
class Measure:
    """One run of one workload.

    Attributes
    ----------
    wall_s, cpu_s : float
        Elapsed seconds, and user plus system seconds of this process and its threads.
    bytes : int
        Bytes that the workload got, or rows for Parquet workloads.
    peak_memory_bytes : int
        Highest resident memory during the run.
    base_memory_bytes : int
        Resident memory before it.
    extra : dict
        Figures that only this workload has.
    """

    wall_s: float = 0.0
    cpu_s: float = 0.0
    bytes: int = 0
    peak_memory_bytes: int = 0
    base_memory_bytes: int = 0
    extra: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the measure as JSON can carry it."""
        return asdict(self)


def _status_bytes(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    return 0


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


@contextmanager
def _timed(measure: Measure) -> Iterator[None]:
    """Time a block; memory that an earlier run left in the pool is given back first, for every client alike."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets the kernel's high-water mark of resident memory
    except OSError:
        pass  # then the peak is that of the whole process
    measure.base_memory_bytes = _status_bytes("VmRSS")
    cpu, wall = _cpu_s(), time.perf_counter()
    yield
    measure.wall_s = time.perf_counter() - wall
    measure.cpu_s = _cpu_s() - cpu
    measure.peak_memory_bytes = _status_bytes("VmHWM")


def read_sequential(client: BaseClient, *, name: str, total: int, read_bytes: int) -> Measure:
    """Read *total* bytes of one file in order, *read_bytes* at a time, keeping nothing."""
    measure, reader = Measure(), client.open(name)
    with _timed(measure):
        for offset in range(0, total, read_bytes):
            measure.bytes += len(memoryview(reader.read_at(offset, read_bytes)))
    return measure


def read_random(client: BaseClient, *, name: str, size: int, read_bytes: int, count: int) -> Measure:
    """Read *count* blocks at random places that are multiples of *read_bytes*, the same ones for every client."""
    places = random.Random(11)
    offsets = [places.randrange(size // read_bytes) * read_bytes for _ in range(count)]
    measure, reader = Measure(), client.open(name)
    with _timed(measure):
        for offset in offsets:
            measure.bytes += len(memoryview(reader.read_at(offset, read_bytes)))
    return measure


def read_threads(client: BaseClient, *, name: str, total: int, read_bytes: int, threads: int) -> Measure:
    """Read *total* bytes with *threads* threads, each with a reader of its own over its share of the file."""
    measure = Measure()
    readers = [client.open(name) for _ in range(threads)]
    share = total // threads // read_bytes * read_bytes
    counts = [0] * threads
    errors: list[Exception] = []

    def run(index: int) -> None:
        try:
            for offset in range(index * share, (index + 1) * share, read_bytes):
                counts[index] += len(memoryview(readers[index].read_at(offset, read_bytes)))
        except Exception as error:
            errors.append(error)

    workers = [threading.Thread(target=run, args=(index,)) for index in range(threads)]
    with _timed(measure):
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    if errors:
        raise errors[0]
    measure.bytes = sum(counts)
    return measure


def read_busy(client: BaseClient, *, name: str, total: int, read_bytes: int, switch_s: float | None = None) -> Measure:
    """As `read_sequential`, while another Python thread computes; with *switch_s* as the interpreter's switch interval."""
    measure, reader = Measure(), client.open(name)
    over = threading.Event()

    def compute() -> None:
        number = 1
        while not over.is_set():
            for _ in range(10_000):
                number = number * 1103515245 % 2147483648

    usual = sys.getswitchinterval()
    if switch_s is not None:
        sys.setswitchinterval(switch_s)
    busy = threading.Thread(target=compute)
    busy.start()
    try:
        with _timed(measure):
            for offset in range(0, total, read_bytes):
                measure.bytes += len(memoryview(reader.read_at(offset, read_bytes)))
    finally:
        over.set()
        busy.join()
        sys.setswitchinterval(usual)
    return measure


def read_stream(client: BaseClient, *, name: str, read_bytes: int) -> Measure:
    """Read a whole file through ``open_input_stream``."""
    measure, filesystem = Measure(), client.filesystem()
    with _timed(measure), filesystem.open_input_stream(client.path(name)) as stream:
        while block := stream.read(read_bytes):
            measure.bytes += len(block)
    return measure


def read_table(client: BaseClient, *, name: str, columns: list[str] | None = None) -> Measure:
    """``pyarrow.parquet.read_table`` of one file."""
    measure, filesystem, path = Measure(), client.filesystem(), client.path(name)
    with _timed(measure):
        table = pq.read_table(path, filesystem=filesystem, columns=columns)
    measure.bytes = table.num_rows
    return measure


def read_dataset(client: BaseClient, *, name: str, fragment_readahead: int = 4) -> Measure:
    """Discover a directory of Parquet files and read it into one table."""
    measure, filesystem, path = Measure(), client.filesystem(), client.path(name)
    with _timed(measure):
        dataset = ds.dataset(path, filesystem=filesystem, format="parquet")
        table = dataset.to_table(fragment_readahead=fragment_readahead)
    measure.bytes = table.num_rows
    measure.extra["files"] = len(dataset.files)
    return measure


def scan_dataset(client: BaseClient, *, name: str, repeat: int) -> Measure:
    """Go through the batches of a directory's files, listed *repeat* times, keeping none."""
    measure, filesystem, path = Measure(), client.filesystem(), client.path(name)
    with _timed(measure):
        files = ds.dataset(path, filesystem=filesystem, format="parquet").files
        dataset = ds.dataset(files * repeat, filesystem=filesystem, format="parquet")
        for batch in dataset.to_batches():
            measure.bytes += batch.num_rows
    measure.extra["arrow_peak_bytes"] = pa.default_memory_pool().max_memory() or 0
    return measure


def list_directory(client: BaseClient, *, name: str) -> Measure:
    """``get_file_info`` of a directory, one level deep."""
    measure, filesystem, path = Measure(), client.filesystem(), client.path(name)
    with _timed(measure):
        infos = filesystem.get_file_info(pafs.FileSelector(path))
        measure.bytes = sum(info.type == pafs.FileType.File for info in infos)
    return measure


def list_then_stat(client: BaseClient, *, name: str) -> Measure:
    """``get_file_info`` of a directory, then of every file in it by its path."""
    measure, filesystem, path = Measure(), client.filesystem(), client.path(name)
    with _timed(measure):
        infos = filesystem.get_file_info(pafs.FileSelector(path))
        infos = filesystem.get_file_info([info.path for info in infos])
        measure.bytes = sum(info.type == pafs.FileType.File for info in infos)
    return measure


def look_up(client: Any, *, workers: int, count: int) -> Measure:
    """Look *count* different paths up in a hash ring."""
    measure, find = Measure(), client.ring(workers)
    paths = [f"s3://bucket/table/dt=2024-01-{index % 28 + 1:02d}/part-{index:06d}.parquet" for index in range(count)]
    with _timed(measure):
        for path in paths:
            find(path)
    measure.bytes = count
    measure.extra["us_per_lookup"] = measure.wall_s / count * 1e6
    return measure


WORKLOADS: dict[str, Callable[..., Measure]] = {
    workload.__name__: workload
    for workload in (
        read_sequential,
        read_random,
        read_threads,
        read_busy,
        read_stream,
        read_table,
        read_dataset,
        scan_dataset,
        list_directory,
        list_then_stat,
        look_up,
    )
}
