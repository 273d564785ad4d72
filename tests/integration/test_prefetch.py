"""Reading ahead in Parquet files: right bytes, fewer waits, nothing when it does not pay."""

from __future__ import annotations

import base64
import gc
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from alluxio_arrow import reader as reader_module
from alluxio_arrow.config import make_settings
from alluxio_arrow.ring import WorkerAddress
from alluxio_arrow.stats import Counters
from alluxio_arrow.testing import MiniCluster
from alluxio_arrow.transport import Transport

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


def test_a_near_worker_is_not_taken_for_a_far_one_by_a_few_long_waits():
    transport = Transport(make_settings(worker_hosts=["127.0.0.1:1"]), Counters())
    near, far = WorkerAddress("127.0.0.1", 1), WorkerAddress("127.0.0.1", 2)
    assert transport.usual_wait_s(near) == 0
    source = random.Random(3)
    for _ in range(200):
        # On a busy machine one answer in three takes milliseconds.
        transport.waited(near, source.choice([0.0001, 0.0001, 0.002]))
        transport.waited(far, source.choice([0.001, 0.001, 0.02]))
        assert transport.usual_wait_s(near) < reader_module.FAR_S < transport.usual_wait_s(far)
    for _ in range(20):
        transport.waited(near, 0.001)
    assert transport.usual_wait_s(near) > reader_module.FAR_S, "and yet it may become far"


def test_files_that_are_not_cached_are_not_guessed_at(far, tmp_path_factory):
    """Every request for a page that is not cached costs its connection."""
    path = Path(far.path).with_name("cold.parquet")
    pq.write_table(far.table.slice(0, 200_000), path, compression="none", use_dictionary=False, row_group_size=20_000)
    fs = far.filesystem()
    pq.read_table(far.path, filesystem=fs, columns=["c1"])
    before = fs.handler.stats()
    assert pq.read_table(str(path), filesystem=fs, columns=["c1", "c4"]).num_rows == 200_000
    stats = fs.handler.stats() - before
    assert stats.bytes_ufs > 0
    assert stats.prefetched_pages == 0


def test_a_long_footer_is_understood_too(far):
    """Arrow reads 64 KiB first; what a longer footer lacks comes by a second read."""
    path = Path(far.path).with_name("wide.parquet")
    table = pa.table({f"column number {index}": range(20_000) for index in range(100)})
    pq.write_table(table, path, compression="none", use_dictionary=False, row_group_size=2_000)
    assert pq.read_metadata(path).serialized_size > 65_536
    far.load(str(path))
    fs = far.filesystem()
    pq.read_table(far.path, filesystem=fs, columns=["c1"])
    before = fs.handler.stats()
    columns = ["column number 7", "column number 60"]
    assert pq.read_table(str(path), filesystem=fs, columns=columns).equals(table.select(columns))
    assert (fs.handler.stats() - before).prefetch_used > 0


def test_files_with_encrypted_columns_are_read_as_ever(far):
    encryption = pytest.importorskip("pyarrow.parquet.encryption")

    class Keys(encryption.KmsClient):
        def wrap_key(self, key, _name):
            return base64.b64encode(key)

        def unwrap_key(self, wrapped, _name):
            return base64.b64decode(wrapped)

    properties = encryption.CryptoFactory(lambda _: Keys()).file_encryption_properties(
        encryption.KmsConnectionConfig(),
        encryption.EncryptionConfiguration(footer_key="a", column_keys={"b": ["c1"]}, plaintext_footer=True),
    )
    path = Path(far.path).with_name("secret.parquet")
    pq.write_table(
        far.table.slice(0, 200_000), path, row_group_size=20_000, use_dictionary=False, encryption_properties=properties
    )
    far.load(str(path))
    fs = far.filesystem()
    before = fs.handler.stats()
    wanted = far.table.slice(0, 200_000).select(["c0", "c4"])
    assert pq.read_table(str(path), filesystem=fs, columns=["c0", "c4"]).equals(wanted)
    assert (fs.handler.stats() - before).prefetched_pages == 0


def test_what_is_read_ahead_keeps_no_memory_of_readers(far):
    fs = far.filesystem()
    before = pa.total_allocated_bytes()
    with fs.open_input_file(far.path) as file:
        content = file.read_buffer()
        assert content.size == Path(far.path).stat().st_size
    del content, file
    gc.collect()
    assert pa.total_allocated_bytes() - before < 1 << 20


def test_many_files_of_which_one_row_group_is_read_each(far):
    """A guess is wrong in every one of them, so guessing ends."""
    fs = far.filesystem()
    metadata = pq.read_metadata(far.path)
    for group in range(GROUPS):
        with fs.open_input_file(far.path) as file:
            file.read_at(64_000, file.size() - 64_000)
            for column in (0, 3):
                chunk = metadata.row_group(group).column(column)
                file.read_at(chunk.total_compressed_size, chunk.data_page_offset)
    few = fs.handler.stats().prefetched_pages
    assert few <= 16
    assert pq.read_table(far.path, filesystem=fs, columns=["c2", "c5"]).equals(far.table.select(["c2", "c5"]))
    assert fs.handler.stats().prefetch_used > few, "a scan is still seen to be one"


def test_ranges_of_a_reader_that_rests_leave_connections_to_others(far):
    fs = far.filesystem(concurrency=4)
    metadata = pq.read_metadata(far.path)
    file = fs.open_input_file(far.path)
    file.read_at(64_000, file.size() - 64_000)
    for group in range(4):
        chunk = metadata.row_group(group).column(2)
        file.read_at(chunk.total_compressed_size, chunk.data_page_offset)
    assert pq.read_table(far.path, filesystem=fs).equals(far.table)
    assert fs.handler.stats().connections_open <= 4 + 1, "one is for look-ups"
    del file


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


def test_a_worker_that_hangs_is_waited_for_once(far):
    """Not once for every range that is under way."""
    fs = far.filesystem(read_timeout_s=1, retry_worker_after_s=60)
    pq.read_table(far.path, filesystem=fs, columns=["c2"])
    (worker,) = far.workers
    metadata = pq.read_metadata(far.path)
    chunks = [metadata.row_group(group).column(2) for group in range(3)]
    spans = [(chunk.data_page_offset, chunk.data_page_offset + chunk.total_compressed_size) for chunk in chunks]
    with fs.open_input_file(far.path) as file, open(far.path, "rb") as local:
        file.read_at(64_000, file.size() - 64_000)
        before = fs.handler.stats()
        own_pages = (spans[0][1] - 1 >> 20) - (spans[0][0] >> 20) + 1
        worker.set_faults({"kind": "stall", "seconds": 5, "after": own_pages})
        try:
            unused = []
            for start, end in spans:
                local.seek(start)
                assert file.read_at(end - start, start) == local.read(end - start)
                unused.append((fs.handler.stats() - before).prefetch_unused)
        finally:
            worker.clear_faults()
    stats = fs.handler.stats() - before
    assert stats.prefetched_pages >= 4
    assert unused[0] == 0
    assert unused[1] == unused[2] > 0, "all were given up at the first that did not come"
    assert stats.bytes_ufs > 0
