"""The fsspec adapter: fsspec's conventions, the handler's behaviour."""

from __future__ import annotations

import io
import itertools
import json
import os
import pickle
import random
import subprocess
import sys
import threading
from datetime import datetime, timezone

import fsspec
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from fsspec.callbacks import Callback
from fsspec.core import url_to_fs

import alluxio_arrow
from alluxio_arrow import AlluxioFileSystem, ConfigError, WorkerUnavailableError
from alluxio_arrow.testing import MiniCluster

PAGE = 1 << 20

#: Handlers are shared by equal settings: whoever wants one of their own takes another lifetime.
lifetimes = itertools.count(1000)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A cluster whose files tests may change."""
    root = tmp_path_factory.mktemp("adapter")
    with MiniCluster(root, workers=2) as cluster:
        cluster.root = root
        yield cluster


@pytest.fixture
def fs(own):
    """A filesystem that shares its handler, and so its counters, with no other test."""
    return own.fsspec_filesystem(metadata_ttl_s=next(lifetimes))


@pytest.fixture
def hot(own, request):
    """Path and content of a cached file of three pages and a bit."""
    path = own.root / f"{request.node.name}.bin"
    content = random.Random(5).randbytes(3 * PAGE + 333)
    path.write_bytes(content)
    own.load(str(path))
    return str(path), content


# -- getting one -------------------------------------------------------------------------------------------------------


def test_found_by_fsspec_without_an_import(own):
    """In a process that imported nothing of ours."""
    (own.root / "found.txt").write_text("found me")
    script = """
import sys, fsspec
etcd, path = sys.argv[1:]
for name in ("alluxio", "alluxiofs"):
    fs = fsspec.filesystem(name, etcd_hosts=etcd.split(":")[0], etcd_port=int(etcd.split(":")[1]), target_protocol="file")
    print(fs.cat_file(path).decode())
with fsspec.open(f"alluxio://{path}", "rt", etcd_hosts=etcd, target_protocol="file") as file:
    print(file.read())
with fsspec.open(f"alluxio::file://{path}", "rt", alluxio={"etcd_hosts": etcd}) as file:
    print(file.read())
"""
    command = [sys.executable, "-c", script, own.etcd_hosts, str(own.root / "found.txt")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("found me\n" * 4, "")


def test_chained_urls_name_the_under_store_and_its_options(s3, s3_options, moto_server):
    s3.mkdir("chained")
    s3.pipe_file("chained/a/key.txt", b"in a bucket")
    with MiniCluster("s3://chained", workers=1, ufs_options=s3_options) as cluster:
        fs, name = url_to_fs("alluxio::s3://chained/a/key.txt", alluxio={"etcd_hosts": cluster.etcd_hosts}, s3=s3_options)
        assert isinstance(fs, AlluxioFileSystem)
        assert name == "chained/a/key.txt"
        assert fs.cat_file(name) == b"in a bucket"
        assert fs.info("s3://chained/a/key.txt")["name"] == name
        assert fs.find("chained") == [name]
        assert fs.ls("") == fs.ls("/")
        assert "chained" in fs.ls("", detail=False)
        assert "testing-secret" not in repr(fs)
        assert "testing-secret" not in fs.to_json(include_password=False)
        assert "testing-secret" in fs.to_json()
        assert fs.sign(name).startswith(moto_server)
        assert AlluxioFileSystem.from_json(fs.to_json()).cat_file(name) == b"in a bucket"


def test_arguments_in_the_order_of_alluxiofs(own):
    fs = AlluxioFileSystem(own.etcd_hosts, None, {"alluxio.worker.page.store.page.size": "1MB"}, target_protocol="file")
    assert fs.handler.settings.page_size == PAGE


def test_defaults_of_fsspec_config(own, monkeypatch):
    monkeypatch.setitem(fsspec.config.conf, "alluxio", {"etcd_hosts": own.etcd_hosts, "target_protocol": "file"})
    (own.root / "configured.txt").write_bytes(b"by config")
    assert fsspec.filesystem("alluxio").cat_file(str(own.root / "configured.txt")) == b"by config"


def test_wrong_arguments_are_refused_by_name(own):
    with pytest.raises(ConfigError, match="did you mean 'etcd_hosts'"):
        AlluxioFileSystem(etcd_host="h")
    with pytest.raises(ConfigError, match="asynchronous"):
        AlluxioFileSystem(own.etcd_hosts, asynchronous=True)
    fs = own.fsspec_filesystem()
    for call in (fs.info, fs.ls, fs.exists, fs.open, fs.cat_file):
        with pytest.raises(TypeError, match="'nonsense'"):
            call(str(own.root), nonsense=1)


def test_fsspecs_names_for_the_metadata_cache(own):
    assert own.fsspec_filesystem(use_listings_cache=False).handler.settings.metadata_ttl_s == 0
    settings = own.fsspec_filesystem(listings_expiry_time=7, max_paths=9).handler.settings
    assert (settings.metadata_ttl_s, settings.metadata_cache_size) == (7, 9)


def test_preload_path_is_in_the_cache_when_the_filesystem_is_there(own):
    path = own.root / "preloaded" / "file.bin"
    path.parent.mkdir()
    path.write_bytes(b"p" * 100)
    fs = own.fsspec_filesystem(preload_path=str(path.parent), metadata_ttl_s=next(lifetimes))
    assert own.owner(str(path)).cached_pages(f"file://{path}") == [0]
    fs.cat_file(str(path))
    assert fs.handler.stats().bytes_ufs == 0


def test_a_ready_filesystem_as_the_under_store(own):
    (own.root / "ready.txt").write_bytes(b"ready")
    arguments = {**own.settings(), "fs": fsspec.filesystem("file")}
    del arguments["target_protocol"]
    fs = AlluxioFileSystem(**arguments)
    assert fs.cat_file(str(own.root / "ready.txt")) == b"ready"
    assert pickle.loads(pickle.dumps(fs)) == fs


def test_threads_share_one_client(own):
    """fsspec makes an instance in every thread."""
    made = []
    barrier = threading.Barrier(4)

    def make():
        made.append(own.fsspec_filesystem(window=5))
        barrier.wait(30)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(fs) for fs in made}) == 4
    assert len({id(fs.handler) for fs in made}) == 1


def test_values(own, fs):
    assert own.fsspec_filesystem(window=6) is own.fsspec_filesystem(window=6)
    assert own.fsspec_filesystem(window=6) != fs
    assert own.fsspec_filesystem(window=6).fsid == fs.fsid
    copy = pickle.loads(pickle.dumps(fs))
    assert copy == fs
    assert hash(copy) == hash(fs)


def test_dropped_filesystems_close_their_connections(own, hot):
    path, content = hot
    arguments = own.settings(metadata_ttl_s=321)
    fs = AlluxioFileSystem(**arguments, skip_instance_cache=True)
    assert fs.cat_file(path) == content
    assert sum(worker.stats()["connections"] for worker in own.workers) >= 1
    before = own.stats()["connections"]
    opened = fs.handler.stats().connections_open
    assert opened
    handler = fs.handler
    del fs
    assert sys.getrefcount(handler) == 2, "nothing but this test holds it: no cycle keeps it"
    assert before >= opened


# -- names and metadata ------------------------------------------------------------------------------------------------


def test_names_in_full(own, fs):
    directory = own.root / "named" / "dt=2024"
    directory.mkdir(parents=True)
    (directory / "ä b.txt").write_bytes(b"12345")
    name = str(directory / "ä b.txt")
    for given in (name, f"file://{name}", f"alluxio://{name}", f"alluxiofs://{name}", name + "/"):
        assert fs.info(given)["name"] == name
    assert fs.ls(str(directory), detail=False) == [name]
    assert fs.ls(name) == [fs.info(name)]
    assert fs.glob(f"{own.root}/named/dt=*/*.txt") == [name]
    assert fs.unstrip_protocol(name) == f"alluxio://{name}"
    assert url_to_fs(fs.unstrip_protocol(name), **own.settings())[1] == name
    assert fs._parent(name) == str(directory)
    assert [(at, dirs, files) for at, dirs, files in fs.walk(str(own.root / "named"))] == [
        (str(own.root / "named"), ["dt=2024"], []),
        (str(directory), [], ["ä b.txt"]),
    ]
    assert "ä b.txt" in fs.tree(str(own.root / "named"))
    assert fs.du(str(own.root / "named")) == 5
    assert fs.find(str(own.root / "named"), withdirs=True) == [str(own.root / "named"), str(directory), name]
    assert fs.find(str(own.root / "named"), maxdepth=1, withdirs=True) == [str(own.root / "named"), str(directory)]


def test_facts_about_a_file(own, fs, hot):
    path, content = hot
    info = fs.info(path)
    assert (info["type"], info["size"]) == ("file", len(content))
    modified = os.stat(path).st_mtime_ns // 1_000_000
    assert info["last_modification_time_ms"] == modified
    assert fs.modified(path) == datetime.fromtimestamp(modified / 1000, timezone.utc)
    assert isinstance(fs.created(path), datetime)
    assert fs.size(path) == len(content)
    assert fs.sizes([path, path]) == [len(content)] * 2
    assert (fs.isfile(path), fs.isdir(path), fs.exists(path)) == (True, False, True)
    assert fs.isdir(str(own.root))
    checksum, key = fs.checksum(path), fs.ukey(path)
    with open(path, "ab") as file:
        file.write(b"more")
    fs.invalidate_cache(path)
    # The cluster keeps its old word until something tells that it is wrong; a listing compares.
    fs.ls(str(own.root))
    assert fs.checksum(path) != checksum
    assert fs.ukey(path) != key


def test_what_is_missing(own, fs):
    missing = str(own.root / "missing")
    assert not fs.exists(missing)
    assert not fs.isfile(missing)
    assert not fs.isdir(missing)
    assert fs.find(missing) == []
    for call in (fs.info, fs.ls, fs.open, fs.cat_file, fs.rm, fs.rm_file, fs.rmdir, fs.size):
        with pytest.raises(FileNotFoundError, match="missing"):
            call(missing)


def test_a_question_that_nobody_answers_is_no_no():
    """The peer's ``exists`` said False when a worker was down."""
    fs = AlluxioFileSystem(worker_hosts="127.0.0.1:1", ufs_root="file:///")
    for call in (fs.exists, fs.isfile, fs.isdir, fs.info):
        with pytest.raises(WorkerUnavailableError):
            call("/somewhere")


# -- reading -----------------------------------------------------------------------------------------------------------


def test_the_whole_and_parts(fs, hot):
    path, content = hot
    assert fs.cat(path) == fs.cat_file(path) == fs.read_bytes(path) == content
    for start, end in [(0, 10), (5, None), (None, 7), (-10, None), (-10, -3), (3, -3), (7, 5), (-1 << 40, 3), (1 << 40, None)]:
        assert fs.cat_file(path, start, end) == content[start:end], (start, end)
    assert fs.head(path, 10) == content[:10]
    assert fs.tail(path, 10) == content[-10:]
    assert fs.read_block(path, PAGE - 5, 10) == content[PAGE - 5 : PAGE + 5]


def test_several_files(own, fs):
    directory = own.root / "several"
    directory.mkdir()
    for index in range(20):
        (directory / f"{index:02}.txt").write_bytes(str(index).encode() * index)
    own.load(str(directory))
    names = [str(directory / f"{index:02}.txt") for index in range(20)]
    expected = {name: str(index).encode() * index for index, name in enumerate(names)}
    assert fs.cat(names) == fs.cat(f"{directory}/*.txt") == fs.cat(str(directory), recursive=True) == expected
    assert fs.handler.stats().bytes_ufs == 0
    with pytest.raises(FileNotFoundError):
        fs.cat([*names, str(directory / "nope")])


def test_errors_of_several_files_stand_in_their_own_places(own, fs):
    """The peer dropped failures and handed one file's bytes out as another's."""
    directory = own.root / "places"
    directory.mkdir()
    for name in ("a", "c"):
        (directory / name).write_bytes(name.encode())
    own.load(str(directory))
    names = [str(directory / name) for name in ("a", "b", "c")]
    os.symlink(directory / "nowhere", directory / "b")
    found = fs.cat_ranges(names, 0, 1)
    assert (found[0], type(found[1]), found[2]) == (b"a", FileNotFoundError, b"c")
    assert fs.cat([names[0], names[2]], on_error="omit") == {names[0]: b"a", names[2]: b"c"}
    with pytest.raises(FileNotFoundError):
        fs.cat_ranges(names, 0, 1, on_error="raise")


def test_ranges_close_together_are_one_request(fs, hot, own):
    path, content = hot
    starts = [100, 0, 200, 70_000, 100, 3 * PAGE + 300, 5, -4]
    ends = [150, 50, 201, 70_001, 150, None, 5, None]
    assert fs.cat_ranges([path] * 8, starts, ends) == [content[start:end] for start, end in zip(starts, ends, strict=True)]
    fs.cat_ranges([path] * 2, [0, 60_000], 10)
    assert fs.handler.stats().page_requests == 4
    assert fs.cat_ranges([path, path], [0, PAGE], [1, PAGE + 1], max_gap=0) == [content[:1], content[PAGE : PAGE + 1]]
    with pytest.raises(ValueError, match="do not belong together"):
        fs.cat_ranges([path], [1, 2], [3])
    with pytest.raises(TypeError):
        fs.cat_ranges(path, 1, 2)


def test_ranges_beyond_the_cache(own, fs, hot):
    path, content = hot
    own.owner(path).evict(f"file://{path}", 1)
    source = random.Random(8)
    starts = [source.randrange(len(content)) for _ in range(50)]
    ends = [start + source.randrange(300_000) for start in starts]
    assert fs.cat_ranges([path] * 50, starts, ends) == [content[start:end] for start, end in zip(starts, ends, strict=True)]
    stats = fs.handler.stats()
    assert stats.bytes_ufs > 0
    assert stats.bytes_cache > 0


def test_files_are_raw_and_read_no_more_than_asked(own, fs, hot):
    path, content = hot
    before = own.stats()["bytes"]
    with fs.open(path) as file:
        assert isinstance(file, io.RawIOBase)
        target = bytearray(1000)
        file.seek(PAGE)
        assert file.readinto(memoryview(target)[10:30]) == 20
        assert target[10:30] == content[PAGE : PAGE + 20]
        file.seek(2 * PAGE)
        assert file.read(7) == content[2 * PAGE : 2 * PAGE + 7]
        assert file.size == len(content)
        assert file.path == path
        assert file.fs is fs
        copy = pickle.loads(pickle.dumps(file))
        assert copy.read(5) == content[2 * PAGE + 7 : 2 * PAGE + 12]
    assert file.closed
    # With what the cluster says of the file; not a page.
    assert own.stats()["bytes"] - before < 2000


def test_read_after_a_seek_with_the_files_own_length(fs, hot):
    """The peer gave the whole file again."""
    path, content = hot
    with fs.open(path) as file:
        file.seek(4)
        assert file.read(len(content)) == content[4:]


def test_text_and_compression(own, fs):
    lines = [f"line {index} ä\n" for index in range(5000)]
    path = str(own.root / "lines.txt.gz")
    with fs.open(path, "wt", compression="infer", encoding="utf-8") as file:
        file.writelines(lines)
    assert fs.size(path) < 30_000
    with fs.open(path, "rt", compression="infer", encoding="utf-8") as file:
        assert list(file) == lines
    plain = str(own.root / "lines.txt")
    fs.write_text(plain, "".join(lines), encoding="utf-8", newline="")
    assert fs.read_text(plain, encoding="utf-8") == "".join(lines)
    with fs.open(plain) as file:
        assert [line.decode() for line in file] == lines
    assert fs.read_block(plain, 3, 20, delimiter=b"\n") == "".join(lines[1:3]).encode()


def test_progress_and_local_copies(fs, hot, tmp_path):
    path, content = hot
    callback = Callback()
    fs.get(path, str(tmp_path / "copy.bin"), callback=callback)
    assert (tmp_path / "copy.bin").read_bytes() == content
    one = Callback()
    fs.get_file(path, str(tmp_path / "again.bin"), callback=one)
    assert (one.size, one.value) == (len(content), len(content))
    # Read ahead, as a stream, and all from the cache.
    assert fs.handler.stats().bytes_ufs == 0


def test_a_forked_child_reads(own, hot):
    path, content = hot
    script = """
import os, sys, fsspec
fs = fsspec.filesystem("alluxio", etcd_hosts=sys.argv[1], target_protocol="file")
content = fs.cat_file(sys.argv[2])
child = os.fork()
if child == 0:
    assert fs.cat_file(sys.argv[2]) == content
    assert fsspec.filesystem("alluxio", etcd_hosts=sys.argv[1], target_protocol="file").cat_file(sys.argv[2], 5) == content[5:]
    os._exit(0)
print(os.waitpid(child, 0)[1], len(content))
"""
    done = subprocess.run([sys.executable, "-c", script, own.etcd_hosts, path], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, f"0 {len(content)}\n"), done.stderr


# -- writing -----------------------------------------------------------------------------------------------------------


def test_modes(own, fs):
    path = str(own.root / "modes.bin")
    with fs.open(path, "xb") as file:
        file.write(b"one")
    with pytest.raises(FileExistsError):
        fs.open(path, "xb")
    with fs.open(path, "ab") as file:
        file.write(b" two")
    assert fs.cat_file(path) == b"one two"
    with fs.open(path, "wb") as file:
        file.write(memoryview(b"three"))
        assert file.tell() == 5
    assert fs.cat_file(path) == b"three"
    with pytest.raises(ValueError, match="mode"):
        fs.open(path, "r+b")


def test_what_is_overwritten_is_read_true(own, fs, hot):
    path, _ = hot
    fs.cat_file(path)
    fs.pipe_file(path, b"new content")
    assert fs.cat_file(path) == b"new content"
    assert fs.info(path)["size"] == 11
    copy = pickle.loads(pickle.dumps(fs))
    assert copy.cat_file(path) == b"new content"


def test_another_process_reads_true_what_this_one_wrote(own, fs, hot):
    path, _ = hot
    fs.cat_file(path)
    fs.pipe_file(path, b"changed here")
    script = "import pickle, sys; print(pickle.load(sys.stdin.buffer).cat_file(sys.argv[1]).decode())"
    done = subprocess.run([sys.executable, "-c", script, path], input=pickle.dumps(fs), capture_output=True, timeout=60)
    assert (done.stdout, done.stderr) == (b"changed here\n", b"")


def test_directories(own, fs):
    top = str(own.root / "made")
    fs.mkdir(f"{top}/a/b")
    assert fs.isdir(f"{top}/a/b")
    with pytest.raises(FileExistsError):
        fs.mkdir(top)
    with pytest.raises(FileExistsError):
        fs.makedirs(top)
    fs.makedirs(top, exist_ok=True)
    with pytest.raises(FileNotFoundError):
        fs.mkdir(f"{top}/x/y", create_parents=False)
    with pytest.raises(OSError, match="not empty"):
        fs.rmdir(top)
    assert fs.isdir(f"{top}/a/b"), "rmdir of the base class deletes everything"
    fs.rmdir(f"{top}/a/b")
    assert not fs.exists(f"{top}/a/b")
    fs.touch(f"{top}/a/file")
    with pytest.raises(NotADirectoryError):
        fs.rmdir(f"{top}/a/file")
    with pytest.raises(IsADirectoryError):
        fs.rm(top)
    fs.rm(top, recursive=True)
    assert not fs.exists(top)


def test_making_a_directory_that_is_there_keeps_its_files_trusted(own, fs, hot):
    assert hot
    fs.makedirs(str(own.root), exist_ok=True)
    fs.put_file(__file__, str(own.root / "beside.py"))
    assert list(fs.handler.client.changed) == [f"file://{own.root}/beside.py"]


def test_touch(own, fs):
    path = str(own.root / "touched")
    fs.pipe_file(path, b"kept")
    os.utime(path, (1, 1))
    fs.touch(path, truncate=False)
    assert fs.cat_file(path) == b"kept"
    assert os.stat(path).st_mtime > 1
    fs.touch(path)
    assert fs.cat_file(path) == b""


def test_moving(own, fs):
    directory = str(own.root / "moves")
    fs.makedirs(f"{directory}/into")
    fs.pipe_file(f"{directory}/a", b"a")
    fs.mv(f"{directory}/a", f"{directory}/a")
    fs.mv(f"{directory}/a", f"{directory}/b")
    assert fs.cat_file(f"{directory}/b") == b"a"
    assert not fs.exists(f"{directory}/a")
    fs.mv(f"{directory}/b", f"{directory}/into")
    assert fs.cat_file(f"{directory}/into/b") == b"a"
    fs.pipe({f"{directory}/1.txt": b"1", f"{directory}/2.txt": b"2"})
    fs.mv(f"{directory}/*.txt", f"{directory}/into/")
    assert fs.cat(f"{directory}/into/*.txt") == {f"{directory}/into/1.txt": b"1", f"{directory}/into/2.txt": b"2"}
    fs.mv(f"{directory}/into", f"{directory}/elsewhere", recursive=True)
    assert sorted(fs.find(directory)) == [f"{directory}/elsewhere/{name}" for name in ("1.txt", "2.txt", "b")]
    with pytest.raises(FileNotFoundError):
        fs.mv(f"{directory}/nothing", f"{directory}/x")
    fs.rm([f"{directory}/elsewhere/1.txt", f"{directory}/elsewhere/2.txt"])
    assert fs.find(directory) == [f"{directory}/elsewhere/b"]


def test_deleting_to_a_depth(own, fs):
    top = str(own.root / "depth")
    fs.makedirs(f"{top}/a")
    fs.pipe({f"{top}/1": b"", f"{top}/a/2": b""})
    fs.rm(top, recursive=True, maxdepth=1)
    assert fs.find(top) == [f"{top}/a/2"]


def test_transactions(own, fs):
    directory = own.root / "together"
    directory.mkdir()
    with fs.transaction:
        fs.pipe_file(str(directory / "a"), b"a")
        with fs.open(str(directory / "b"), "wb") as file:
            file.write(b"b")
        assert not fs.exists(str(directory / "a"))
        with pytest.raises(ValueError, match="transaction"):
            fs.open(str(directory / "a"), "ab")
    assert fs.cat(f"{directory}/*") == {str(directory / "a"): b"a", str(directory / "b"): b"b"}
    with pytest.raises(KeyError), fs.transaction:
        fs.pipe_file(str(directory / "a"), b"never")
        raise KeyError
    assert sorted(os.listdir(directory)) == ["a", "b"]
    assert fs.cat_file(str(directory / "a")) == b"a"


def test_copies_stay_in_the_store(own, fs, hot):
    path, content = hot
    before = own.stats()["pages"]
    fs.copy(path, str(own.root / "new" / "place.bin"))
    assert own.stats()["pages"] == before
    assert fs.cat_file(str(own.root / "new" / "place.bin")) == content


# -- Arrow over the adapter --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tables(own):
    root = own.root / "tables"
    root.mkdir()
    for index in range(3):
        table = pa.table(
            {"id": range(index * 100_000, (index + 1) * 100_000), "x": random.Random(index).choices(range(99), k=100_000)}
        )
        pq.write_table(table, root / f"{index}.parquet", row_group_size=20_000)
    own.load(str(root))
    return root


@pytest.mark.parametrize("what", ["file", "columns", "directory", "scan"])
def test_arrow_over_the_adapter_costs_what_the_native_handler_costs(own, tables, what):
    def read(filesystem):
        if what == "file":
            return pq.read_table(str(tables / "0.parquet"), filesystem=filesystem)
        if what == "columns":
            return pq.read_table(str(tables / "1.parquet"), filesystem=filesystem, columns=["x"])
        if what == "directory":
            return pq.read_table(str(tables), filesystem=filesystem)
        return ds.dataset(str(tables), filesystem=filesystem).to_table(filter=ds.field("id") < 5)

    counts, results = [], []
    for make in (own.filesystem, own.fsspec_filesystem):
        filesystem = make(metadata_ttl_s=next(lifetimes))
        before = own.stats()
        results.append(read(filesystem))
        after = own.stats()
        counts.append({name: after[name] - before[name] for name in ("file", "info", "files", "health", "bytes")})
        assert filesystem.handler.stats().bytes_ufs == 0
    assert results[0].equals(results[1])
    assert counts[0] == counts[1]


def test_arrow_gets_the_readers_own_buffer(own, tables, monkeypatch):
    """`read_buffer` serves all of a table: nothing is copied through `bytes`."""
    from alluxio_arrow.fsspec import ReadFile

    fs = own.fsspec_filesystem()
    monkeypatch.setattr(ReadFile, "read", lambda *_: pytest.fail("read() was called"))
    assert pq.read_table(str(tables / "2.parquet"), filesystem=fs).num_rows == 100_000


def test_writing_a_dataset_through_the_adapter(own, fs):
    table = pa.table({"part": ["a", "b", "a"], "n": [1, 2, 3]})
    target = str(own.root / "written")
    ds.write_dataset(
        table,
        target,
        filesystem=fs,
        format="parquet",
        partitioning=ds.partitioning(flavor="hive", schema=pa.schema([("part", pa.string())])),
    )
    back = ds.dataset(target, filesystem=fs, partitioning="hive").to_table().sort_by("n")
    assert back.column("n").to_pylist() == [1, 2, 3]
    assert back.column("part").to_pylist() == ["a", "b", "a"]


def test_load_jobs_by_the_same_verbs(own, fs):
    directory = own.root / "verbs"
    directory.mkdir()
    (directory / "f.bin").write_bytes(b"f" * 10)
    assert fs.submit_load(str(directory)) is True
    assert fs.load(str(directory), skip_if_exists=True, timeout=60).state == alluxio_arrow.LoadState.SUCCEEDED
    assert fs.load_progress(str(directory)).bytes_loaded >= 0
    assert fs.stop_load(str(directory)) in (True, False)


def test_json(own, fs):
    assert AlluxioFileSystem.from_json(fs.to_json()) == fs
    assert json.loads(fs.to_json())["cls"] == "alluxio_arrow.fsspec:AlluxioFileSystem"
