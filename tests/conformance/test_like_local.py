"""The same calls on ours and on Arrow's own LocalFileSystem: Arrow is the oracle."""

from __future__ import annotations

import hashlib
import io
import pickle
import random

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow.fs import FileSelector, FileType, LocalFileSystem

LOCAL = LocalFileSystem()


@pytest.fixture(scope="module")
def fs(cluster):
    return cluster.filesystem()


def facts(info):
    mtime_ms = info.mtime_ns // 1_000_000 if info.mtime_ns is not None else None
    return (info.path, info.base_name, info.extension, info.type, info.size, mtime_ms)


def names(root):
    return sorted(str(path) for path in root.rglob("*"))


def test_info_of_everything(fs, files_root):
    paths = [*names(files_root), str(files_root / "missing"), str(files_root / "hot/missing/deeper")]
    assert [facts(info) for info in fs.get_file_info(paths)] == [facts(info) for info in LOCAL.get_file_info(paths)]


@pytest.mark.parametrize("recursive", [False, True])
@pytest.mark.parametrize("directory", ["", "hot", "hot/dt=2024-01-01", "hot/sub", "cold"])
def test_selectors(fs, files_root, directory, recursive):
    selector = FileSelector(str(files_root / directory), recursive=recursive)
    ours, theirs = fs.get_file_info(selector), LOCAL.get_file_info(selector)
    assert sorted(map(facts, ours)) == sorted(map(facts, theirs))
    assert [info.path for info in ours] == sorted(info.path for info in ours)


@pytest.mark.parametrize("name", ["missing", "hot/one.bin"])
@pytest.mark.parametrize("allow_not_found", [False, True])
def test_selectors_of_what_is_no_directory(fs, files_root, name, allow_not_found):
    selector = FileSelector(str(files_root / name), allow_not_found=allow_not_found)
    outcomes = []
    for filesystem in (fs, LOCAL):
        try:
            outcomes.append(filesystem.get_file_info(selector))
        except OSError as error:
            outcomes.append(type(error))
    assert outcomes[0] == outcomes[1]


def test_every_file_reads_alike(fs, files_root):
    for path in files_root.rglob("*"):
        if not path.is_file():
            continue
        for method in ("open_input_file", "open_input_stream"):
            with getattr(fs, method)(str(path)) as ours, getattr(LOCAL, method)(str(path)) as theirs:
                assert ours.read() == theirs.read()
                assert ours.read(10) == theirs.read(10) == b""


def test_random_access_in_every_way(fs, files_root):
    path = str(files_root / "hot/several.bin")
    with fs.open_input_file(path) as ours, LOCAL.open_input_file(path) as theirs:
        assert (ours.size(), ours.seekable(), ours.readable(), ours.writable()) == (theirs.size(), True, True, False)
        size = theirs.size()
        for offset, length in ((0, 5), (size - 3, 3), (size - 3, 100), (size, 4), (1_048_570, 12), (3, 3_000_000)):
            assert ours.read_at(length, offset) == theirs.read_at(length, offset)
            ours.seek(offset)
            theirs.seek(offset)
            assert ours.read_buffer(length).equals(theirs.read_buffer(length))
            assert ours.tell() == theirs.tell()
        ours.seek(size - 4)
        target = bytearray(b"." * 10)
        assert ours.readinto(target) == 4
        theirs.seek(size - 4)
        assert bytes(target) == theirs.read(4) + b"......"
        ours.seek(-5, 2)
        theirs.seek(-5, 2)
        assert ours.read() == theirs.read()
    with pytest.raises(ValueError, match="closed"):
        ours.read(1)


@pytest.mark.parametrize("name", ["hot/missing", "missing"])
def test_missing_files(fs, files_root, name):
    path = str(files_root / name)
    with pytest.raises(FileNotFoundError, match="missing"):
        LOCAL.open_input_file(path)
    with pytest.raises(FileNotFoundError, match="missing"):
        fs.open_input_file(path).read()
    with pytest.raises(FileNotFoundError, match="missing"):
        fs.open_input_stream(path)


def test_directories_cannot_be_read(fs, files_root):
    with pytest.raises(OSError, match="directory"):
        LOCAL.open_input_file(str(files_root / "hot")).read()
    with pytest.raises(OSError, match="directory"):
        fs.open_input_file(str(files_root / "hot")).read()


def test_the_filesystem_is_a_value(fs, cluster):
    assert fs == cluster.filesystem()
    assert fs != cluster.filesystem(window=3)
    assert pickle.loads(pickle.dumps(fs)) == fs
    assert hash(fs.handler) == hash(cluster.filesystem().handler)
    assert fs.type_name == "py::alluxio"


def test_names_of_one_file(fs, files_root):
    path = str(files_root / "hot/one.bin")
    for name in (path, f"file://{path}", f"alluxio://{path}", path + "/"):
        assert fs.normalize_path(name) == path
        assert fs.get_file_info(name).path == path
        assert fs.get_file_info(name).type == FileType.File


def test_python_files(fs, files_root):
    """The reader itself, as fsspec and others use it, against a file in memory."""
    path = files_root / "hot/several.bin"
    content = path.read_bytes()
    with fs.handler.open_file(str(path)) as ours:
        assert isinstance(ours, io.RawIOBase)
        assert ours.read(4) == content[:4]
        assert ours.seek(4) == 4
        assert ours.read(len(content)) == content[4:]
        assert ours.read() == b""
        ours.seek(0)
        buffered = io.BufferedReader(ours)
        assert hashlib.sha256(buffered.read()).digest() == hashlib.sha256(content).digest()


actions = st.one_of(
    st.tuples(st.just("read"), st.integers(0, 3_000_000)),
    st.tuples(st.just("small"), st.integers(0, 5000)),
    st.tuples(st.just("seek"), st.integers(0, 5_300_000)),
    st.tuples(st.just("readinto"), st.integers(0, 2_000_000)),
    st.tuples(st.just("buffer"), st.integers(0, 2_000_000)),
    st.tuples(st.just("line"), st.integers(-1, 3000)),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["hot/several.bin", "cold/several.bin", "hot/small.bin"]),
    sequential=st.booleans(),
    steps=st.lists(actions, max_size=25),
)
def test_any_sequence_of_reads_equals_bytesio(fs, files_root, name, sequential, steps):
    path = files_root / name
    model = io.BytesIO(path.read_bytes())
    file = fs.handler.open_file(str(path), sequential=sequential)
    for action, number in steps:
        if action in ("read", "small"):
            assert file.read(number) == model.read(number)
        elif action == "seek":
            assert file.seek(number) == model.seek(number)
        elif action == "buffer":
            assert file.read_buffer(number).to_pybytes() == model.read(number)
        elif action == "line":
            assert file.readline(number) == model.readline(number)
        else:
            ours, theirs = bytearray(number), bytearray(number)
            assert file.readinto(ours) == model.readinto(theirs)
            assert ours == theirs
        assert file.tell() == model.tell()


def test_streams_in_odd_pieces(fs, files_root):
    source = random.Random(3)
    for name in ("hot/several.bin", "cold/several.bin"):
        content = (files_root / name).read_bytes()
        with fs.open_input_stream(str(files_root / name)) as stream:
            pieces = []
            while piece := stream.read(source.choice([1, 1000, 65_536, 300_000, 1_500_000])):
                pieces.append(piece)
        assert b"".join(pieces) == content


def test_errors_survive_arrow(cluster, files_root):
    """Class, cause, errno and filename of ours pass through C++."""
    import pyarrow.parquet as pq

    from alluxio_arrow import NotCachedError

    fs = cluster.filesystem(ufs=False)
    with pytest.raises(NotCachedError) as caught:
        pq.read_table(str(files_root / "cold/several.bin"), filesystem=fs)
    assert caught.value.filename == str(files_root / "cold/several.bin")
    assert caught.value.errno
    assert "submit_load" in str(caught.value)
    assert isinstance(caught.value, OSError)


def test_buffers_are_not_longer_than_asked(fs, files_root):
    with fs.handler.open_file(str(files_root / "hot/small.bin")) as file:
        assert isinstance(file.read_buffer(7), pa.Buffer)
        assert file.read_buffer(7).size == 7
