"""Reading ahead in Parquet files: right bytes, fewer waits, nothing when it does not pay."""

from __future__ import annotations

import random

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from alluxio_arrow import reader as reader_module
from alluxio_arrow.testing import MiniCluster

ROWS, GROUPS = 600_000, 12


@pytest.fixture(scope="module")
def far(tmp_path_factory):
    """A cluster that takes two milliseconds for every answer, and a table with 22 columns."""
    root = tmp_path_factory.mktemp("far")
    source = random.Random(9)
    table = pa.table({f"c{index}": pa.array(memoryview(source.randbytes(8 * ROWS)).cast("q")) for index in range(6)})
    pq.write_table(table, root / "table.parquet", compression="none", use_dictionary=False, row_group_size=ROWS // GROUPS)
    with MiniCluster(root, workers=1, latency_s=0.002) as cluster:
        cluster.load(str(root))
        cluster.table, cluster.path = table, str(root / "table.parquet")
        yield cluster


def test_a_projection_is_read_ahead_and_right(far):
    fs = far.filesystem()
    for columns in (["c1"], ["c1", "c4"], ["c2", "c3"]):
        assert pq.read_table(far.path, filesystem=fs, columns=columns).equals(far.table.select(columns))
    stats = fs.handler.stats()
    assert stats.prefetched_pages > 0
    assert stats.prefetch_unused <= stats.prefetched_pages / 4
    assert stats.bytes_ufs == 0
    assert stats.prefetched_pages == stats.prefetch_used + stats.prefetch_unused
    assert stats.page_requests == stats.pages_cache + stats.prefetch_unused, "each page was asked for once"


def test_nothing_is_read_ahead_from_near_workers(far, monkeypatch):
    monkeypatch.setattr(reader_module, "FAR_S", 1000.0)
    fs = far.filesystem()
    assert pq.read_table(far.path, filesystem=fs, columns=["c1"]).num_rows == ROWS
    assert fs.handler.stats().prefetched_pages == 0


def test_a_filter_that_skips_row_groups_wastes_little(far):
    fs = far.filesystem()
    first = far.table.column("c0")[0].as_py()
    found = ds.dataset(far.path, filesystem=fs).to_table(filter=ds.field("c0") == first, columns=["c0", "c5"])
    assert found.num_rows >= 1
    assert fs.handler.stats().prefetch_unused <= 4


def test_evicted_pages_among_those_requested_ahead(far):
    fs = far.filesystem()
    pq.read_table(far.path, filesystem=fs, columns=["c1"])
    (worker,) = far.workers
    pages = worker.cached_pages(f"file://{far.path}")
    try:
        for page in pages[2::3]:
            worker.evict(f"file://{far.path}", page)
        assert pq.read_table(far.path, filesystem=fs, columns=["c1", "c2"]).equals(far.table.select(["c1", "c2"]))
        assert fs.handler.stats().bytes_ufs > 0
    finally:
        far.load(far.path)


def test_a_worker_that_dies_while_ranges_are_under_way(far):
    fs = far.filesystem(retry_worker_after_s=0)
    (worker,) = far.workers
    with fs.open_input_file(far.path) as file:
        metadata = pq.read_metadata(far.path)
        file.read_at(64_000, file.size() - 64_000)
        for group in range(3):
            chunk = metadata.row_group(group).column(2)
            file.read_at(chunk.total_compressed_size, chunk.data_page_offset)
        assert fs.handler.stats().prefetched_pages > 0
        worker.kill()
        try:
            with open(far.path, "rb") as local:
                for group in range(3, GROUPS):
                    chunk = metadata.row_group(group).column(2)
                    local.seek(chunk.data_page_offset)
                    ours = file.read_at(chunk.total_compressed_size, chunk.data_page_offset)
                    assert ours == local.read(chunk.total_compressed_size)
        finally:
            worker.restart()
            far.load(far.path)
