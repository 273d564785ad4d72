"""Measures the recipes of docs/tuning.md: each setting against the default, side by side, at 0, 1 and 10 ms per request.

``python benchmarks/tuning.py [--scale 0.3]`` prints the table that the page holds.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import alluxio_arrow
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pyarrow.parquet as pq

import data
import servers

ROUNDS = 5


def filesystem(target: Any, **settings: Any) -> pafs.FileSystem:
    """Return our filesystem on the page server."""
    hosts = [f"{host}:{target.port}" for host in target.hosts]
    return alluxio_arrow.filesystem(worker_hosts=hosts, page_size=target.page_size, **settings)


def scan(fs: pafs.FileSystem, name: str, *, io_threads: int = 8, **options: Any) -> None:
    """Read a directory of Parquet files into a table."""
    pa.set_io_thread_count(io_threads)
    ds.dataset(f"s3://{data.BUCKET}/{name}", filesystem=fs, format="parquet").to_table(**options)
    pa.set_io_thread_count(8)


def project(fs: pafs.FileSystem, **cache: Any) -> None:
    """Read 2 of 22 columns of a table."""
    options = ds.ParquetFragmentScanOptions(pre_buffer=True, cache_options=pa.CacheOptions(**cache) if cache else None)
    kind = ds.ParquetFileFormat(default_fragment_scan_options=options)
    table = ds.dataset(f"s3://{data.BUCKET}/plain.parquet", filesystem=fs, format=kind)
    table.to_table(columns=list(data.PROJECTION))


def whole(fs: pafs.FileSystem, **options: Any) -> None:
    """Read a whole table of one file."""
    pq.read_table(f"s3://{data.BUCKET}/plain.parquet", filesystem=fs, **options)


class RowGroups:
    """What a `torch.utils.data.DataLoader` takes: one item for each row group of a table, its bytes."""

    def __init__(self, fs: pafs.FileSystem, groups: int) -> None:
        self._fs, self._groups = fs, groups

    def __len__(self) -> int:
        return self._groups

    def __getitem__(self, index: int) -> int:
        with self._fs.open_input_file(f"s3://{data.BUCKET}/plain.parquet") as file:
            return pq.ParquetFile(file, pre_buffer=False).read_row_group(index, use_threads=False).nbytes


def loaders(target: Any) -> list[tuple[str, str, Callable[[], None]]]:
    """The same table through PyTorch, where it is installed; the first round starts the processes and is not measured."""
    try:
        from torch.utils.data import DataLoader
    except ImportError:
        return []
    fs = filesystem(target)
    groups = pq.read_metadata(f"s3://{data.BUCKET}/plain.parquet", filesystem=fs).num_row_groups
    found: list[tuple[str, str, Callable[[], None]]] = []
    for workers in (0, 1, 2, 4, 8):
        more = {"persistent_workers": True, "multiprocessing_context": "spawn"} if workers else {}
        loader = DataLoader(RowGroups(fs, groups), batch_size=None, num_workers=workers, **more)
        found.append(("`DataLoader`, 12 row groups", f"`num_workers={workers}`", lambda loader=loader: sum(loader)))
    return found


def recipes(target: Any) -> list[tuple[str, str, Callable[[], None]]]:
    """What is read, with which setting, and how."""
    plain, wide, narrow = filesystem(target), filesystem(target, window=16), filesystem(target, window=2)
    return [
        ("small files", "default", lambda: scan(plain, "small")),
        ("small files", "`fragment_readahead=16`", lambda: scan(plain, "small", fragment_readahead=16)),
        ("small files", "and `pa.set_io_thread_count(16)`", lambda: scan(plain, "small", fragment_readahead=16, io_threads=16)),
        ("small files", "and 32 of both", lambda: scan(plain, "small", fragment_readahead=32, io_threads=32)),
        ("2 of 22 columns", "default", lambda: project(plain)),
        ("2 of 22 columns", "`pa.CacheOptions(hole_size_limit=1 << 20)`", lambda: project(plain, hole_size_limit=1 << 20)),
        (
            "2 of 22 columns",
            "`pa.CacheOptions(hole_size_limit=8 << 20, range_size_limit=64 << 20)`",
            lambda: project(plain, hole_size_limit=8 << 20, range_size_limit=64 << 20),
        ),
        ("whole table", "default (`window=8`)", lambda: whole(plain)),
        ("whole table", "`window=2`", lambda: whole(narrow)),
        ("whole table", "`window=16`", lambda: whole(wide)),
        ("whole table", "`pre_buffer=False`", lambda: whole(plain, pre_buffer=False)),
    ]


def main() -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=0.3)
    scale = parser.parse_args().scale
    servers.build()
    catalog = data.make(data.default_directory(scale), scale)
    times: dict[tuple[str, str], list[float]] = {}
    with servers.PageServer(catalog) as server:
        for delay_us in (0, 1_000, 10_000):
            server.set_delay(delay_us)
            measured = recipes(server.target) + loaders(server.target)
            rounds: dict[tuple[str, str], list[float]] = {(what, how): [] for what, how, _ in measured}
            for number in range(ROUNDS + 1):
                # In another order every time: what a recipe leaves behind must not always burden the same one.
                for what, how, run in random.Random(number).sample(measured, len(measured)):
                    began = time.perf_counter()
                    run()
                    if number:
                        rounds[what, how].append(time.perf_counter() - began)
            for key, values in rounds.items():
                times.setdefault(key, []).append(statistics.median(values) * 1e3)
    table_mb = catalog.sizes["plain.parquet"] / 1e6
    print(f"median of {ROUNDS}, ms, scale {scale:g}: {catalog.small_files} small files; table of {table_mb:.0f} MB\n")
    print("| what | setting | 0 ms | 1 ms | 10 ms |\n|---|---|---|---|---|")
    for (what, how), values in times.items():
        print(f"| {what} | {how} | " + " | ".join(f"{value:.0f}" for value in values) + " |")


if __name__ == "__main__":
    main()
