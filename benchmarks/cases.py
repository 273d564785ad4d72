"""The cases: what is read, by whom, with which delay."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from data import PROJECTION, Catalog

LIMITS = ("c", "local_osfile", "local_mmap")
PAGE_PEERS = ("urllib3_data", "requests_session", "requests_get")
ALLUXIO_PEERS = ("alluxiofs_103", "alluxiofs_117")
STORE_PEERS = ("obstore", "pyarrow_s3", "s3fs")
EVERYONE = ("ours", *LIMITS, *PAGE_PEERS, *ALLUXIO_PEERS, *STORE_PEERS)
#: Where single reads are compared: with what the interpreter costs at least, too.
SINGLE_READS = ("ours", "bare_python", *EVERYONE[1:])
#: Under Parquet the one-connection-per-page client says nothing that the one with a session does not.
PARQUET = tuple(client for client in EVERYONE if client != "requests_get")
KB, MB = 1 << 10, 1 << 20


@dataclass(frozen=True)
class Case:
    """One line of the results.

    Attributes
    ----------
    name : str
        Unique; the delay is part of it.
    title : str
        For people.
    workload : str
        Name of a function in ``workloads``.
    arguments : dict
        Its arguments.
    clients : tuple of str
        In the order of the tables.
    useful_bytes : int
        Bytes of file that the workload needs: what "per GB" refers to (1 GB = 10**9 bytes). 0: not a matter of bytes.
    expected : int
        What the workload must report as its ``bytes``, checked in every run. 0: not checked.
    delay_us : int
        Of every answer of the server.
    processes : int
        How many processes of the client run it side by side, each on its own.
    few_rounds : bool
        Whether a long case gets three rounds at most.
    facts : dict
        Numbers that the checks need.
    """

    name: str
    title: str
    workload: str
    arguments: dict[str, Any]
    clients: tuple[str, ...]
    useful_bytes: int = 0
    expected: int = 0
    delay_us: int = 0
    processes: int = 1
    few_rounds: bool = False
    facts: dict[str, Any] = field(default_factory=dict)


def _delayed(name: str, delay_us: int) -> str:
    return f"{name}@{delay_us / 1000:g}ms" if delay_us else name


def cases(catalog: Catalog) -> Iterator[Case]:
    """Yield all cases over the data of *catalog*."""
    yield from _random_access(catalog)
    yield from _parquet(catalog)
    yield from _scaling(catalog)
    yield from _small_operations(catalog)


def _random_access(catalog: Catalog) -> Iterator[Case]:
    raw = catalog.sizes["raw.bin"]
    for megabytes in (8, 4):
        yield Case(
            name=f"read_at_{megabytes}mb",
            title=f"ReadAt {megabytes} MB, in order",
            workload="read_sequential",
            arguments={"name": "raw.bin", "total": raw, "read_bytes": megabytes * MB},
            clients=SINGLE_READS,
            useful_bytes=raw,
            expected=raw,
        )
    for delay_us in (1_000, 10_000):
        total = raw // 2 if delay_us == 1_000 else raw // 8
        total = total // (8 * MB) * 8 * MB or 8 * MB
        yield Case(
            name=_delayed("read_at_8mb", delay_us),
            title=f"ReadAt 8 MB, {delay_us // 1000} ms per request",
            workload="read_sequential",
            arguments={"name": "raw.bin", "total": total, "read_bytes": 8 * MB},
            clients=SINGLE_READS,
            useful_bytes=total,
            expected=total,
            delay_us=delay_us,
            few_rounds=True,
        )
    for label, read_bytes, count in (("64kb", 64 * KB, 2000), ("1mb", MB, 300)):
        count = max(50, int(count * min(1.0, catalog.scale * 2)))  # noqa: PLW2901
        yield Case(
            name=f"random_{label}",
            title=f"{count} random reads of {label[:-2]} {label[-2:].upper()}",
            workload="read_random",
            arguments={"name": "raw.bin", "size": raw, "read_bytes": read_bytes, "count": count},
            clients=SINGLE_READS,
            useful_bytes=count * read_bytes,
            expected=count * read_bytes,
            facts={"reads": count},
        )
    for delay_us in (0, 1_000):
        yield Case(
            name=_delayed("stream", delay_us),
            title=f"open_input_stream, read(1 MB){_after(delay_us)}",
            workload="read_stream",
            arguments={"name": "raw.bin", "read_bytes": MB},
            clients=("ours", "c", "local_osfile", "urllib3_data", "requests_session", "alluxiofs_103", "pyarrow_s3"),
            useful_bytes=raw,
            expected=raw,
            delay_us=delay_us,
            few_rounds=True,
        )


def _after(delay_us: int) -> str:
    return f", {delay_us / 1000:g} ms per request" if delay_us else ""


def _parquet(catalog: Catalog) -> Iterator[Case]:
    for name, delay_us in (("plain", 0), ("snappy", 0), ("plain", 1_000)):
        yield Case(
            name=_delayed(f"read_table_{name}", delay_us),
            title=f"read_table, {catalog.sizes[name + '.parquet'] / 1e6:.0f} MB {name}{_after(delay_us)}",
            workload="read_table",
            arguments={"name": f"{name}.parquet"},
            clients=PARQUET,
            useful_bytes=catalog.sizes[f"{name}.parquet"],
            delay_us=delay_us,
            few_rounds=delay_us > 0,
        )
    for delay_us in (0, 1_000, 10_000):
        yield Case(
            name=_delayed("columns", delay_us),
            title=f"read_table, 2 of 22 columns{_after(delay_us)}",
            workload="read_table",
            arguments={"name": "plain.parquet", "columns": list(PROJECTION)},
            clients=PARQUET,
            useful_bytes=catalog.projection_bytes,
            delay_us=delay_us,
            facts={"ranges": catalog.projection_ranges},
        )
    for delay_us in (0, 1_000):
        yield Case(
            name=_delayed("dataset", delay_us),
            title=f"dataset of {catalog.dataset_files} files, {catalog.sizes['dataset'] / 1e6:.0f} MB{_after(delay_us)}",
            workload="read_dataset",
            arguments={"name": "dataset"},
            clients=PARQUET,
            useful_bytes=catalog.sizes["dataset"],
            delay_us=delay_us,
            few_rounds=delay_us > 0,
        )
    for delay_us, readahead in ((0, 4), (1_000, 4), (10_000, 4), (10_000, 16)):
        more = {} if readahead == 4 else {"fragment_readahead": readahead}
        yield Case(
            name=_delayed("small_files" + (f"_readahead{readahead}" if more else ""), delay_us),
            title=f"{catalog.small_files} small Parquet files{_after(delay_us)}"
            + (f", fragment_readahead={readahead}" if more else ""),
            workload="read_dataset",
            arguments={"name": "small", **more},
            clients=PARQUET,
            useful_bytes=catalog.sizes["small"],
            delay_us=delay_us,
            few_rounds=True,
            facts={"files": catalog.small_files},
        )
    repeat = 10
    yield Case(
        name="scan_memory",
        title=f"scan of {repeat * catalog.sizes['dataset'] / 1e9:.1f} GB in batches",
        workload="scan_dataset",
        arguments={"name": "dataset", "repeat": repeat},
        clients=("ours", "local_osfile", "alluxiofs_103", "pyarrow_s3"),
        useful_bytes=repeat * catalog.sizes["dataset"],
        few_rounds=True,
    )


def _scaling(catalog: Catalog) -> Iterator[Case]:
    raw = catalog.sizes["raw.bin"]
    clients = ("ours", "c", "local_osfile", "urllib3_data", "requests_session")
    for threads in (2, 4, 8):
        read_bytes = min(8 * MB, raw // threads)
        total = raw // threads // read_bytes * read_bytes * threads
        yield Case(
            name=f"threads_{threads}",
            title=f"ReadAt 8 MB, {threads} threads",
            workload="read_threads",
            arguments={"name": "raw.bin", "total": raw, "read_bytes": read_bytes, "threads": threads},
            clients=clients,
            useful_bytes=total,
            expected=total,
            few_rounds=True,
        )
    for label, switch_s in (("", None), ("_switching", 0.0005)):
        yield Case(
            name=f"busy{label}",
            title="ReadAt 8 MB beside a busy Python thread" + (", sys.setswitchinterval(0.0005)" if switch_s else ""),
            workload="read_busy",
            arguments={"name": "raw.bin", "total": min(raw, 64 * MB), "read_bytes": 8 * MB, "switch_s": switch_s},
            clients=clients,
            useful_bytes=min(raw, 64 * MB),
            expected=min(raw, 64 * MB),
            few_rounds=True,
        )
    for processes in (2, 4):
        yield Case(
            name=f"processes_{processes}",
            title=f"ReadAt 8 MB, {processes} processes",
            workload="read_sequential",
            arguments={"name": "raw.bin", "total": raw, "read_bytes": 8 * MB},
            clients=clients,
            useful_bytes=raw * processes,
            expected=raw,
            processes=processes,
            few_rounds=True,
        )


def _small_operations(catalog: Catalog) -> Iterator[Case]:
    for workers in (50, 1000):
        yield Case(
            name=f"ring_{workers}",
            title=f"hash ring look-up, {workers} workers",
            workload="look_up",
            arguments={"workers": workers, "count": 20_000},
            clients=("ours", "alluxiofs_103"),
            expected=20_000,
        )
    everyone = ("ours", "local_osfile", "alluxiofs_103", "obstore", "pyarrow_s3", "s3fs")
    few = ("ours", "local_osfile", "alluxiofs_103", "pyarrow_s3")  # the others take minutes to ask file by file
    for workload, title, clients in (
        ("list_directory", "get_file_info of a directory", everyone),
        ("list_then_stat", "get_file_info of a directory, then of each path,", few),
    ):
        yield Case(
            name=workload,
            title=f"{title} with {catalog.listed_files} files",
            workload=workload,
            arguments={"name": "listing"},
            clients=clients,
            expected=catalog.listed_files,
            facts={"files": catalog.listed_files},
            few_rounds=True,
        )
