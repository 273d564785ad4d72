"""What this client wrote, moved or deleted it then reads true, although workers keep old pages and metadata for ever."""

from __future__ import annotations

import pickle
import random

import pytest
from pyarrow.fs import FileSelector, FileType

from alluxio_arrow.testing import MiniCluster

OLD, NEW = random.Random(1).randbytes(2_500_000), random.Random(2).randbytes(2_500_000)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    root = tmp_path_factory.mktemp("writing")
    with MiniCluster(root) as cluster:
        cluster.root = root
        yield cluster


@pytest.fixture
def cached(own, request):
    """A cached file with content OLD."""
    path = own.root / request.node.name.replace("[", "_").replace("]", "_") / "x.bin"
    path.parent.mkdir()
    path.write_bytes(OLD)
    own.load(str(path))
    fs = own.filesystem()
    assert read(fs, path) == OLD
    assert fs.handler.stats().bytes_ufs == 0
    return path


def read(fs, path):
    with fs.open_input_file(str(path)) as file:
        return file.read()


def kind(fs, path):
    return fs.get_file_info(str(path)).type


def test_overwritten(own, cached):
    fs = own.filesystem()
    assert read(fs, cached) == OLD
    with fs.open_output_stream(str(cached)) as stream:
        stream.write(NEW[:1_000_000])
        stream.write(NEW[1_000_000:])
    assert read(fs, cached) == NEW
    assert read(pickle.loads(pickle.dumps(fs)), cached) == NEW, "a pickled copy knows what was changed"
    assert fs.get_file_info(FileSelector(str(cached.parent)))[0].size == len(NEW)
    before = fs.handler.stats()
    own.load(str(cached))
    fs.handler.client.metadata.clear()
    assert read(fs, cached) == NEW
    assert (fs.handler.stats() - before).bytes_ufs == 0, "cluster and under store agree again, so the cache is used again"


def test_appended(own, cached):
    fs = own.filesystem()
    with fs.open_append_stream(str(cached)) as stream:
        stream.write(b"more")
    assert read(fs, cached) == OLD + b"more"


def test_deleted(own, cached):
    fs = own.filesystem()
    fs.delete_file(str(cached))
    assert kind(fs, cached) == FileType.NotFound
    with pytest.raises(FileNotFoundError):
        read(fs, cached)
    assert fs.get_file_info(FileSelector(str(cached.parent))) == []
    with pytest.raises(FileNotFoundError):
        fs.delete_file(str(cached))


def test_moved(own, cached):
    fs = own.filesystem()
    target = cached.with_name("y.bin")
    fs.move(str(cached), str(target))
    assert (kind(fs, cached), kind(fs, target)) == (FileType.NotFound, FileType.File)
    assert read(fs, target) == OLD


def test_copied_over_another(own, cached):
    fs = own.filesystem()
    source = cached.with_name("new.bin")
    source.write_bytes(NEW)
    fs.copy_file(str(source), str(cached))
    assert read(fs, cached) == NEW


def test_directories(own, cached):
    fs = own.filesystem()
    directory = cached.parent / "a" / "b"
    with pytest.raises(OSError):
        fs.create_dir(str(directory), recursive=False)
    fs.create_dir(str(directory), recursive=True)
    assert kind(fs, directory) == FileType.Directory
    fs.move(str(cached.parent / "a"), str(cached.parent / "c"))
    assert kind(fs, directory) == FileType.NotFound
    assert [info.base_name for info in fs.get_file_info(FileSelector(str(cached.parent)))] == ["c", "x.bin"]
    fs.delete_dir_contents(str(cached.parent))
    assert fs.get_file_info(FileSelector(str(cached.parent))) == []
    fs.delete_dir(str(cached.parent))
    assert kind(fs, cached.parent) == FileType.NotFound
    fs.delete_dir_contents(str(cached.parent), missing_dir_ok=True)
    with pytest.raises(FileNotFoundError):
        fs.delete_dir_contents(str(cached.parent))


def test_a_directory_replaced_by_a_move(own, cached):
    """Everything below a moved directory is read true."""
    fs = own.filesystem()
    other = own.root / "other-directory"
    other.mkdir()
    (other / "x.bin").write_bytes(NEW)
    fs.delete_dir(str(cached.parent))
    fs.move(str(other), str(cached.parent))
    assert read(fs, cached) == NEW


def test_the_root_is_not_emptied(own):
    fs = own.filesystem()
    with pytest.raises(PermissionError):
        fs.delete_dir_contents("/", accept_root_dir=True)


def test_without_under_store_writing_is_refused(own, cached):
    fs = own.filesystem(ufs=False)
    for change in (
        lambda: fs.delete_file(str(cached)),
        lambda: fs.open_output_stream(str(cached)),
        lambda: fs.create_dir("/x"),
    ):
        with pytest.raises(PermissionError, match="target_protocol"):
            change()
    assert read(fs, cached) == OLD


def test_onto_itself_nothing_is_lost(own, cached):
    fs = own.filesystem()
    for change in (fs.copy_file, fs.move):
        change(str(cached), f"file://{cached}")
        assert cached.read_bytes() == OLD
    assert list(fs.handler.client.changed) == []


def test_a_name_that_ends_like_an_archive_is_written_as_given(own):
    """Arrow guesses a compression from the name, once for each filesystem that a stream passes."""
    path = own.root / "written.txt.gz"
    with own.filesystem().open_output_stream(str(path), compression=None) as stream:
        stream.write(b"plain bytes")
    assert path.read_bytes() == b"plain bytes"
    with own.filesystem().open_output_stream(str(path)) as stream:
        stream.write(b"packed once")
    import gzip

    assert gzip.decompress(path.read_bytes()) == b"packed once"
    with own.filesystem().open_input_stream(str(path)) as stream:
        assert stream.read() == b"packed once"


def test_making_a_directory_distrusts_nothing(own, cached):
    fs = own.filesystem()
    fs.create_dir(str(cached.parent))
    assert list(fs.handler.client.changed) == []
    fs.create_dir(str(cached.parent / "new" / "deep"))
    assert kind(fs, cached.parent / "new" / "deep") == FileType.Directory
    assert [info.path for info in fs.get_file_info(FileSelector(str(cached.parent / "new")))] == [
        str(cached.parent / "new/deep")
    ]
    trusting = own.filesystem(trust_listings=True)
    trusting.get_file_info(FileSelector(str(cached.parent)))
    trusting.create_dir(str(cached.parent / "another"))
    shown = [info.base_name for info in trusting.get_file_info(FileSelector(str(cached.parent)))]
    assert shown == ["another", "new", "x.bin"]
