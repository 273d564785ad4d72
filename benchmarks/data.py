"""Makes the benchmarks' data: the same bytes for the same scale, on every machine."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

BUCKET = "lake"
COLUMNS = 22
PROJECTION = ("c03", "c14")
ROW_GROUPS = 12
FORMAT_VERSION = 2


@dataclass(frozen=True)
class Catalog:
    """What was made, in numbers that the cases and the report need.

    Attributes
    ----------
    root : str
        Local directory of the data.
    manifest : str
        Path of the page server's list of files.
    scale : float
        1.0 is the size that the published figures use.
    sizes : dict of str to int
        Bytes of each item: a file, or all files of a directory.
    projection_bytes : int
        Compressed bytes of the two projected columns of ``plain.parquet``.
    projection_ranges : int
        Column chunks in them.
    dataset_files, small_files, listed_files : int
        Files in the directories ``dataset``, ``small`` and ``listing``.
    """

    root: str
    manifest: str
    scale: float
    sizes: dict[str, int]
    projection_bytes: int
    projection_ranges: int
    dataset_files: int
    small_files: int
    listed_files: int


def _table(rows: int, seed: int) -> pa.Table:
    """Return *rows* rows of 22 columns of 8 bytes, half integers, half floats."""
    generator = np.random.default_rng(seed)
    columns: dict[str, pa.Array] = {}
    for index in range(COLUMNS):
        name = f"c{index:02d}"
        if index % 2:
            columns[name] = pa.array(generator.integers(0, 1 << 56, rows, dtype=np.int64))
        else:
            columns[name] = pa.array(generator.random(rows))
    return pa.table(columns)


def _write(table: pa.Table, path: Path, *, row_group_size: int, compression: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        table,
        path,
        row_group_size=row_group_size,
        compression=compression,
        use_dictionary=False,
        write_statistics=False,
        store_schema=False,
    )


def _write_manifest(root: Path, manifest: Path) -> None:
    lines = []
    for path in _files(root):
        key = f"{BUCKET}/{path.relative_to(root).as_posix()}"
        file_id = hashlib.sha256(f"s3://{key}".encode()).hexdigest()
        status = path.stat()
        lines.append(f"{file_id}\t{key}\t{path}\t{status.st_size}\t{status.st_mtime_ns // 1_000_000}\n")
    manifest.write_text("".join(lines))


def _files(directory: Path) -> Iterator[Path]:
    return (path for path in sorted(directory.rglob("*")) if path.is_file())


def default_directory(scale: float) -> Path:
    """Return where data of this scale is kept: memory when there is room, else the temporary directory."""
    wanted = int(scale * 3e9)
    memory = Path("/dev/shm")
    room = shutil.disk_usage(memory).free if memory.is_dir() else 0
    base = memory if room > 2 * wanted else Path(tempfile.gettempdir())
    return base / f"alluxio-arrow-benchmarks-{os.getuid()}-{scale:g}"


def make(directory: Path, scale: float) -> Catalog:
    """Return the catalog of *directory*, made now if it does not hold data of this *scale* yet."""
    stamp = directory / "catalog.json"
    if stamp.exists():
        known = json.loads(stamp.read_text())
        if known.pop("version") == FORMAT_VERSION and known["scale"] == scale:
            return Catalog(**known)
    shutil.rmtree(directory, ignore_errors=True)
    root = directory / "data"
    root.mkdir(parents=True)

    rows = max(ROW_GROUPS * 100, int(3_000_000 * scale))
    table = _table(rows, seed=1)
    for codec in ("none", "snappy"):
        name = "plain" if codec == "none" else codec
        _write(table, root / f"{name}.parquet", row_group_size=-(-rows // ROW_GROUPS), compression=codec)
    del table

    dataset_files, dataset_rows = 16, max(100, int(188_000 * scale))
    for index in range(dataset_files):
        part = _table(dataset_rows, seed=100 + index)
        _write(part, root / f"dataset/part-{index:02d}.parquet", row_group_size=dataset_rows, compression="none")

    small_files = max(20, int(1_000 * scale))
    for index in range(small_files):
        part = _table(300, seed=10_000 + index)
        _write(part, root / f"small/part-{index:04d}.parquet", row_group_size=300, compression="none")

    listed_files = max(50, int(10_000 * scale))
    (root / "listing").mkdir()
    for index in range(listed_files):
        (root / f"listing/file-{index:05d}.parquet").write_bytes(b"listed, not read")

    generator = np.random.default_rng(7)
    with (root / "raw.bin").open("wb") as raw:
        for _ in range(max(1, round(16 * scale)) * 32):  # whole multiples of every read size
            raw.write(generator.bytes(1 << 20))

    metadata = pq.read_metadata(root / "plain.parquet")
    chunks = [
        metadata.row_group(group).column(column).total_compressed_size
        for group in range(metadata.num_row_groups)
        for column in range(COLUMNS)
        if metadata.schema.column(column).name in PROJECTION
    ]
    manifest = directory / "manifest.tsv"
    _write_manifest(root, manifest)
    catalog = Catalog(
        root=str(root),
        manifest=str(manifest),
        scale=scale,
        sizes={
            item.name: item.stat().st_size if item.is_file() else sum(file.stat().st_size for file in _files(item))
            for item in root.iterdir()
        },
        projection_bytes=sum(chunks),
        projection_ranges=len(chunks),
        dataset_files=dataset_files,
        small_files=small_files,
        listed_files=listed_files,
    )
    stamp.write_text(json.dumps({"version": FORMAT_VERSION, **asdict(catalog)}))
    return catalog
