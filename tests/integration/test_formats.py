"""Tables of every kind, read through the cluster and by Arrow's own filesystems: schema and content are equal."""

from __future__ import annotations

import datetime
import random

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.dataset as ds
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from pyarrow.fs import LocalFileSystem, S3FileSystem

from alluxio_arrow.testing import MiniCluster

LOCAL = LocalFileSystem()
CODECS = [
    codec for codec in ("none", "snappy", "gzip", "brotli", "zstd", "lz4") if codec == "none" or pa.Codec.is_available(codec)
]


def make_table(rows=20_000, seed=1):
    source = random.Random(seed)
    day = datetime.date(2024, 1, 1)
    return pa.table(
        {
            "number": pa.array(range(rows), pa.int64()),
            "float": pa.array([source.random() for _ in range(rows)]),
            "word": pa.array([source.choice(["a", "bb", "ccc", None]) for _ in range(rows)]).dictionary_encode(),
            "list": pa.array([list(range(index % 5)) if index % 7 else None for index in range(rows)], pa.list_(pa.int32())),
            "struct": pa.array([{"x": index, "y": [{"z": str(index)}]} for index in range(rows)]),
            "map": pa.array([[("k", index)] for index in range(rows)], pa.map_(pa.string(), pa.int64())),
            "date": pa.array([day + datetime.timedelta(days=index % 3) for index in range(rows)]),
            "bytes": pa.array([source.randbytes(index % 40) for index in range(rows)]),
        }
    )


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    root = tmp_path_factory.mktemp("tables")
    table = make_table()
    for codec in CODECS:
        pq.write_table(table, root / f"{codec}.parquet", compression=codec, row_group_size=3000, write_page_index=True)
    pq.write_table(table.slice(0, 0), root / "empty.parquet")
    flat = table.select(["number", "float"])
    pa_csv.write_csv(flat, root / "flat.csv")
    feather.write_feather(flat, root / "flat.feather", compression="lz4")
    (root / "flat.json").write_text("".join(f'{{"a": {index}, "b": "x{index}"}}\n' for index in range(20_000)))
    hive = ds.partitioning(pa.schema([("word", pa.string()), ("date", pa.date32())]), flavor="hive")
    plain = table.set_column(2, "word", table["word"].cast(pa.string()).fill_null("no ne")).drop_columns(["map"])
    ds.write_dataset(plain, root / "hive", format="parquet", partitioning=hive)
    with MiniCluster(root) as cluster:
        cluster.root = root
        cluster.load(str(root))
        yield cluster


@pytest.mark.parametrize("codec", CODECS)
def test_parquet_in_every_codec(tables, codec):
    path = str(tables.root / f"{codec}.parquet")
    fs = tables.filesystem()
    ours, theirs = pq.read_table(path, filesystem=fs), pq.read_table(path, filesystem=LOCAL)
    assert ours.schema.equals(theirs.schema, check_metadata=True)
    assert ours.equals(theirs)
    stats = fs.handler.stats()
    assert stats.bytes_ufs == 0
    assert stats.metadata_requests == 1


def test_no_more_is_read_than_arrow_asks_for(tables):
    """Projection of two columns: the bytes received are those that Arrow's own filesystem is asked for."""
    path = str(tables.root / "none.parquet")

    class Counting:
        closed, mode = False, "rb"

        def __init__(self):
            self.file, self.count = open(path, "rb"), 0

        def read(self, size):
            data = self.file.read(size)
            self.count += len(data)
            return data

        def seek(self, *args):
            return self.file.seek(*args)

        def tell(self):
            return self.file.tell()

        def close(self):
            self.file.close()

    counting = Counting()
    expected = pq.ParquetFile(pa.PythonFile(counting, mode="r"), pre_buffer=True).read(["number", "date"])
    fs = tables.filesystem()
    with fs.open_input_file(path) as file:
        assert pq.ParquetFile(file, pre_buffer=True).read(["number", "date"]).equals(expected)
    assert fs.handler.stats().bytes_cache <= 1.05 * counting.count
    counting.close()


def test_empty_tables(tables):
    path = str(tables.root / "empty.parquet")
    assert pq.read_table(path, filesystem=tables.filesystem()).equals(pq.read_table(path))


@pytest.mark.parametrize(
    "condition", [None, pc.field("word") == "bb", (pc.field("date") == "2024-01-02") & (pc.field("number") < 5000)]
)
def test_hive_partitions_with_filters(tables, condition):
    path = str(tables.root / "hive")
    fs = tables.filesystem()
    order = [("number", "ascending")]
    ours = ds.dataset(path, filesystem=fs, partitioning="hive").to_table(
        filter=condition, columns=["number", "float", "word", "date"]
    )
    theirs = ds.dataset(path, partitioning="hive").to_table(filter=condition, columns=["number", "float", "word", "date"])
    assert ours.num_rows == theirs.num_rows > 0
    assert ours.sort_by(order).equals(theirs.sort_by(order))
    assert fs.handler.stats().bytes_ufs == 0
    read = pq.read_table(path, filesystem=fs, filters=condition)
    assert read.sort_by(order).equals(pq.read_table(path, filters=condition).sort_by(order))


@pytest.mark.parametrize("name", ["csv", "json", "feather"])
def test_other_formats(tables, name):
    path = str(tables.root / f"flat.{name}")
    fs = tables.filesystem()
    assert ds.dataset(path, filesystem=fs, format=name).to_table().equals(ds.dataset(path, format=name).to_table())
    assert fs.handler.stats().bytes_ufs == 0


def test_datasets_of_many_forms(tables):
    fs = tables.filesystem()
    paths = [str(tables.root / f"{codec}.parquet") for codec in CODECS]
    assert ds.dataset(paths, filesystem=fs).count_rows() == 20_000 * len(CODECS)
    assert pq.ParquetDataset(paths[0], filesystem=fs).read().equals(pq.read_table(paths[0]))
    batches = list(ds.dataset(paths[0], filesystem=fs).to_batches(batch_size=1000))
    assert pa.Table.from_batches(batches).equals(pq.read_table(paths[0]))


def test_writing_a_dataset_and_reading_it_back(tables, tmp_path):
    fs = tables.filesystem()
    table = make_table(500, seed=9).drop_columns(["map"])
    target = str(tables.root / "written")
    for _ in range(2):
        ds.write_dataset(table, target, filesystem=fs, format="parquet", existing_data_behavior="delete_matching")
        assert ds.dataset(target, filesystem=fs).to_table().equals(table)
        table = make_table(300, seed=10).drop_columns(["map"])
    pq.write_table(table, f"{target}/one.parquet", filesystem=fs)
    assert pq.read_table(f"{target}/one.parquet", filesystem=fs).equals(table)


def test_a_big_file_whose_pages_are_half_cold(tmp_path):
    """300 MB; every other run of pages is not cached."""
    source = random.Random(1)
    column = [pa.array(memoryview(source.randbytes(8 * 500_000)).cast("q"), pa.int64()) for _ in range(15)]
    table = pa.table({f"c{index}": pa.concat_arrays([column[index]] * 5) for index in range(15)})
    path = tmp_path / "big.parquet"
    pq.write_table(table, path, compression="none", use_dictionary=False, row_group_size=500_000)
    assert path.stat().st_size > 290_000_000
    with MiniCluster(tmp_path) as cluster:
        cluster.load(str(path))
        owner, canonical = cluster.owner(str(path)), cluster.canonical(str(path))
        pages = owner.cached_pages(canonical)
        for index in pages[5:]:
            if index // 8 % 2:
                owner.evict(canonical, index)
        fs = cluster.filesystem()
        read = pq.read_table(str(path), filesystem=fs)
        assert read.equals(pq.read_table(path))
        stats = fs.handler.stats()
        size = path.stat().st_size
        assert stats.bytes_cache > size // 3
        assert stats.bytes_ufs > size // 3
        assert stats.bytes_cache + stats.bytes_ufs <= 1.05 * size


@pytest.fixture(scope="module")
def lake(s3, s3_options):
    s3.mkdir("tables")
    table = make_table(5000).drop_columns(["map"])
    with s3.open("tables/t/dt=2024-01-01/a b+c%41&d#é.parquet", "wb") as file:
        pq.write_table(table, file)
    with s3.open("tables/t/dt=2024-01-02/plain.parquet", "wb") as file:
        pq.write_table(table, file)
    with s3.open("tables/flat/x.parquet", "wb") as file:
        pq.write_table(table, file, row_group_size=1000)
    with MiniCluster("s3://tables", ufs_options=s3_options) as cluster:
        cluster.table = table
        yield cluster


@pytest.fixture(params=["s3fs", "pyarrow", "s3fs-instance"])
def lake_fs(request, lake, s3, s3_options, moto_server):
    """The same cluster over S3 under stores of three kinds."""
    if request.param == "s3fs":
        return lake.filesystem()
    if request.param == "s3fs-instance":
        return lake.filesystem(fs=s3)
    host = moto_server.removeprefix("http://")
    store = S3FileSystem(
        access_key=s3_options["key"], secret_key=s3_options["secret"], endpoint_override=host, scheme="http", region="us-east-1"
    )
    return lake.filesystem(fs=store)


def test_s3_under_stores(lake, lake_fs):
    for cached in (False, True):
        if cached:
            lake.load("s3://tables")
        fs = lake_fs
        before = fs.handler.stats()
        found = ds.dataset("tables/t", filesystem=fs, partitioning="hive").to_table()
        assert found.num_rows == 10_000
        assert sorted(set(found["dt"].to_pylist())) == ["2024-01-01", "2024-01-02"]
        for name in (
            "tables/flat/x.parquet",
            "s3://tables/flat/x.parquet",
            "alluxio://tables/flat/x.parquet",
            "s3a://tables/flat/x.parquet",
        ):
            assert pq.read_table(name, filesystem=fs).equals(lake.table)
        stats = fs.handler.stats() - before
        if cached:
            assert stats.bytes_ufs == 0
            assert stats.bytes_cache > 0


def test_writing_to_s3(lake, lake_fs):
    fs = lake_fs
    table = make_table(100).drop_columns(["map"])
    pq.write_table(table, "tables/new/a.parquet", filesystem=fs)
    assert pq.read_table("tables/new/a.parquet", filesystem=fs).equals(table)
    fs.copy_file("tables/new/a.parquet", "tables/new/b.parquet")
    fs.delete_file("tables/new/a.parquet")
    infos = fs.get_file_info(["tables/new/a.parquet", "tables/new/b.parquet"])
    assert [info.type.name for info in infos] == ["NotFound", "File"]
    fs.delete_dir("tables/new")
    assert fs.get_file_info("tables/new").type.name == "NotFound"
