"""Rooms that decide and touch nothing: paths, pages, ring, errors, heads, properties."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import alluxio_arrow
from alluxio_arrow import errors
from alluxio_arrow.fetch import PageRequest
from alluxio_arrow.http1 import find_head_end, parse_head
from alluxio_arrow.membership import StaticMembership, decode_worker
from alluxio_arrow.metadata import ChangedPaths, MetadataCache, reconcile
from alluxio_arrow.pages import ColdRun, coalesce, plan_page_reads
from alluxio_arrow.paths import PathMapper, canonical_ufs_path, file_id, is_addressable, parent_of
from alluxio_arrow.properties import parse_bool, parse_duration_s, parse_list, parse_size, read_site_properties
from alluxio_arrow.protocol import FileStatus, decode_statuses, page_request
from alluxio_arrow.ring import HashRing, Snapshot, WorkerAddress, WorkerIdentity

DATA = Path(__file__).parents[1] / "data"


# -- paths -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("s3://b/x/", "s3://b/x"),
        ("s3://b//x", "s3://b/x"),
        ("s3://b/./x", "s3://b/x"),
        ("s3://b", "s3://b"),
        ("s3://b/", "s3://b/"),
        ("s3://b/a/../c", "s3://b/c"),
        ("file:/tmp/x", "file:///tmp/x"),
        ("s3://b/a b", "s3://b/a b"),
        ("s3://b/a%20b", "s3://b/a%20b"),
        ("oss://b/a#f", "oss://b/a#f"),
        ("s3://b/a+b=c&d", "s3://b/a+b=c&d"),
        ("S3://b/x", "S3://b/x"),
        ("s3://b/a\\b", "s3://b/a/b"),
        ("s3://b/a?q//r/", "s3://b/a?q//r/"),
    ],
)
def test_canonical_path_is_the_servers(text, canonical):
    assert canonical_ufs_path(text) == canonical


@given(st.lists(st.text(st.characters(exclude_characters="/\\?", exclude_categories=["Cs"]), min_size=1), max_size=5))
def test_canonical_path_is_stable(segments):
    segments = [segment for segment in segments if segment not in (".", "..")]
    text = "/".join(["s3://b", *segments])
    assert canonical_ufs_path(text) == text
    assert canonical_ufs_path("s3://b//" + "//./".join(segments) + "/") in (text, text + "/")


def test_file_ids_of_the_worked_examples():
    assert file_id("s3://bucket/dir/file.parquet") == "4eea5b483d9b7a36c832961e873a09a6dcdc19e47e017e174cfc42263f55c10d"
    assert file_id("s3://bucket/dir") == "b0f070984afcd18324482fd95fa8c6539c56ff900e66012119c2d847ca56fdaa"
    assert file_id("s3://b/数据.txt") == "2d8e33846617c6f1c2648f136cdb43e99406e451ead713cea08a1dfb3fabe05d"


@pytest.mark.parametrize("name", ["a b", "a&b", "a=b", "a?b", "ä", "a\tb", "a\\b", "a%2Fb"])
def test_names_a_server_cannot_read_are_not_sent(name):
    assert not is_addressable(f"s3://b/{name}")


@pytest.mark.parametrize("name", ["a+b", "a%41", "a#b", "a-b_c.d~e", "a:b", "a%2fb"])
def test_names_a_server_reads_are_sent(name):
    assert is_addressable(f"s3://b/{name}")


def test_all_names_of_one_s3_file():
    mapper = PathMapper.of(["s3"], None)
    for name in ("s3://b/k/x", "s3a://b/k/x", "alluxio://b/k/x", "b/k/x", "/b/k/x", "b/k/x/", "alluxio://s3://b/k/x"):
        assert mapper.to_ufs(name) == "s3://b/k/x"
    assert mapper.to_arrow("s3://b/k/x") == "b/k/x"
    assert mapper.to_ufs("s3://b/") == mapper.to_ufs("b") == "s3://b"


def test_all_names_of_one_local_file():
    mapper = PathMapper.of(["file", "local"], None)
    for name in ("file:///k/x", "file:/k/x", "alluxio:///k/x", "/k/x", "/k//x/", "local:///k/x"):
        assert mapper.to_ufs(name) == "file:///k/x"
    assert mapper.to_arrow("file:///k/x") == "/k/x"


def test_paths_below_the_clusters_root():
    mapper = PathMapper.of(["s3"], "s3a://lake/warehouse/")
    assert mapper.to_ufs("/t/x") == "s3a://lake/warehouse/t/x"
    assert mapper.to_ufs("s3://lake/warehouse/t/x") == mapper.to_ufs("lake/warehouse/t/x") == "s3a://lake/warehouse/t/x"


@pytest.mark.parametrize("name", ["gs://b/x", "file:///x"])
def test_another_stores_path_is_refused(name):
    with pytest.raises(ValueError, match="another store"):
        PathMapper.of(["s3"], None).to_ufs(name)


def test_paths_without_scheme_need_one():
    mapper = PathMapper.of([], None)
    assert mapper.to_ufs("s3://b/x") == mapper.to_arrow("s3://b/x") == "s3://b/x"
    with pytest.raises(ValueError, match="no scheme"):
        mapper.to_ufs("b/x")
    with pytest.raises(ValueError, match="climbs"):
        mapper.to_ufs("s3://b/../x")
    with pytest.raises(TypeError):
        mapper.to_ufs(b"s3://b/x")


def test_backslashes_and_question_marks_stay_in_names():
    mapper = PathMapper.of(["file"], None)
    assert mapper.to_ufs("/a\\b?c/d") == "file:///a\\b?c/d"
    assert not is_addressable(mapper.to_ufs("/a\\b"))


def test_parents():
    assert parent_of("s3://b/k/x") == "s3://b/k"
    assert parent_of("s3://b") == "s3://"
    assert parent_of("s3://") == "s3://"
    assert parent_of("file:///x") == "file:///"
    assert parent_of("file:///") == "file:///"


# -- pages -----------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**12), st.integers(0, 10**6), st.integers(1, 10**5))
def test_a_plan_covers_its_range_exactly(offset, length, page_size):
    position = offset
    for read in plan_page_reads(offset, min(length, 50 * page_size), page_size=page_size):
        assert read.page_index * page_size + read.page_offset == position
        assert 0 < read.length <= page_size - read.page_offset
        position += read.length
    assert position == offset + min(length, 50 * page_size)


@pytest.mark.parametrize("bad", [(-1, 1, 1), (0, -1, 1), (0, 1, 0)])
def test_impossible_plans_are_refused(bad):
    with pytest.raises(ValueError, match="no pages"):
        plan_page_reads(bad[0], bad[1], page_size=bad[2])


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(1, 50)), max_size=30), st.integers(0, 60), st.integers(1, 300))
def test_coalescing_keeps_every_byte(pairs, hole, limit):
    ranges = sorted((start, start + length) for start, length in pairs)
    merged = list(coalesce(ranges, hole_size_limit=hole, range_size_limit=limit))
    wanted = {byte for start, end in ranges for byte in range(start, end)}
    covered = [byte for start, end in merged for byte in range(start, end)]
    assert wanted <= set(covered)
    assert len(covered) == len(set(covered))
    assert all(
        after[0] - before[1] > 0 or after[1] - before[0] > limit for before, after in zip(merged, merged[1:], strict=False)
    )


def test_a_whole_page_is_asked_for_openly():
    def target(offset, length, *, to_end):
        (read,) = plan_page_reads(offset, length, page_size=10)
        request = page_request("id", read, to_end=to_end, authority="[::1]:7")
        line, host = request.removesuffix(b"\r\n\r\n").decode().split("\r\n")
        assert host == "Host: [::1]:7"
        assert PageRequest(0, 1, request).target == line.split()[1]
        return line

    assert target(0, 10, to_end=True) == "GET /v1/file/id/page/0 HTTP/1.1"
    assert target(34, 6, to_end=True) == "GET /v1/file/id/page/3?offset=4 HTTP/1.1"
    assert target(0, 4, to_end=False) == "GET /v1/file/id/page/0?offset=0&length=4 HTTP/1.1"


def test_cold_files_are_asked_less_and_less():
    cold, asked = ColdRun(), []
    for page in range(300):
        if not cold.skip():
            asked.append(page)
            cold.miss()
    assert asked[:3] == [0, 1, 3]
    assert len(asked) < 20
    cold.hit()
    assert not cold.skip()
    assert cold.window(8) == 4


# -- ring ------------------------------------------------------------------------------------------------------------------

W0 = WorkerIdentity(1, bytes.fromhex("7f2a8e8188c04a8786115586fc64fac4"))
W1 = WorkerIdentity(1, bytes.fromhex("00000000000040008000000000000001"))
W2 = WorkerIdentity(1, bytes.fromhex("00000000000040008000000000000002"))


def test_the_ring_places_files_where_a_real_load_job_did():
    recorded = json.loads((DATA / "cluster_placement.json").read_text())
    workers = [decode_worker(item["value"].encode())[0] for item in recorded["etcd"]]
    ring = HashRing(workers, recorded["virtual_nodes"])
    assert len(recorded["placement"]) == 300
    for path, identifier in recorded["placement"].items():
        assert ring.candidates(path)[0].identifier.hex() == identifier


def test_the_rings_worked_examples():
    ring = HashRing([W0, W1, W2])
    assert ring.candidates("s3://bucket/dir/file.parquet", 3) == [W1, W2, W0]
    assert ring.candidates("s3://bucket/dir") == [W0]
    assert ring.candidates("s3://b/数据.txt") == [W1]
    assert ring._keys[:3] == [-2116520587, -1748015406, -1402824911]
    assert HashRing([WorkerIdentity(0, (1234567890123).to_bytes(8, "big"))], 1)._keys == [1358759969]
    assert str(W0) == "worker-7f2a8e81-88c0-4a87-8611-5586fc64fac4"
    assert str(WorkerIdentity(0, (1234567890123).to_bytes(8, "big"))) == "worker-1234567890123"
    assert WorkerIdentity.from_host("worker-1.example.com").identifier.hex() == "ec160a8beb5e379584dd45151ea775a4"


identities = st.lists(
    st.binary(min_size=16, max_size=16).map(lambda raw: WorkerIdentity(1, raw)), min_size=2, max_size=12, unique=True
)


@given(identities, st.text(max_size=40), st.integers(1, 10))
def test_removing_a_worker_moves_only_its_paths(workers, path, virtual_nodes):
    ring = HashRing(workers, virtual_nodes)
    owner = ring.candidates(path)[0]
    for gone in workers:
        if gone != owner:
            rest = HashRing([worker for worker in workers if worker != gone], virtual_nodes)
            assert rest.candidates(path) == [owner]
    found = ring.candidates(path, len(workers))
    assert len(found) == len(set(found)) <= len(workers)
    assert sum(ring.shares().values()) == pytest.approx(1)


def test_an_empty_ring_has_no_candidates_and_bad_identities_are_refused():
    assert HashRing([]).candidates("x", 3) == []
    for version, raw in ((2, b"x" * 16), (1, b"x" * 8), (0, b"x" * 16)):
        with pytest.raises(ValueError, match="identity"):
            WorkerIdentity(version, raw)


def test_a_static_list_keeps_two_workers_of_one_host_apart():
    addresses = [WorkerAddress("h", 1), WorkerAddress("h", 2), WorkerAddress("other", 1)]
    snapshot = StaticMembership(addresses).snapshot()
    assert sorted(snapshot.addresses.values()) == addresses
    assert WorkerIdentity.from_host("other") in snapshot.addresses
    assert pickle.loads(pickle.dumps(snapshot)) == snapshot


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"WorkerNetAddress":{"Host":"h"}}',
        b'{"Identity":{"version":1,"identifier":"zz"},"WorkerNetAddress":{"Host":"h"}}',
        b'{"Identity":{"version":1,"identifier":"00"},"WorkerNetAddress":{"Host":"h"}}',
        b'{"Identity":{"version":7,"identifier":"00000000000040008000000000000001"},"WorkerNetAddress":{"Host":"h"}}',
        b'{"Identity":{"version":1,"identifier":"00000000000040008000000000000001"},"WorkerNetAddress":{"Host":"h","HttpServerPort":0}}',
    ],
)
def test_malformed_registrations_are_refused(value):
    with pytest.raises(ValueError):
        decode_worker(value)


def test_a_registration_without_port_has_the_default():
    value = b'{"x":1,"WorkerNetAddress":{"Host":"h"},"Identity":{"identifier":"00000000000040008000000000000001","version":1}}'
    assert decode_worker(value) == (W1, WorkerAddress("h", 28080))


# -- heads -----------------------------------------------------------------------------------------------------------------


def test_a_plain_head():
    head = parse_head(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nContent-Length:  12 \r\n\r\n")
    assert head is not None
    assert head.is_plain
    assert head.content_length == 12
    assert head.keep_alive


@pytest.mark.parametrize(
    "fields",
    [
        b"content-length: 1\r\ncontent-length: 1\r\n",
        b"content-length: 1\r\ncontent-length : 2\r\n",
        b"content-length: -1\r\n",
        b"content-length: 1x\r\n",
        b"content-length: 1\r\ntransfer-encoding: chunked\r\n",
        b"content-length: 1\r\ncontent-encoding: gzip\r\n",
        b"",
    ],
)
def test_heads_whose_framing_would_be_guessed_are_not_plain(fields):
    head = parse_head(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n")
    assert head is not None
    assert not head.is_plain


def test_closing_heads():
    assert not parse_head(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\n").keep_alive
    assert not parse_head(b"HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n").keep_alive
    assert not parse_head(b"HTTP/1.1 404 Not Found\r\ncontent-length: 1\r\n\r\n").is_plain


@given(st.binary(max_size=200))
def test_noise_is_no_head_and_never_an_exception(noise):
    end = find_head_end(noise)
    assert end == -1 or noise[:end].endswith(b"\r\n\r\n")
    assert parse_head(noise) is None or noise.startswith(b"HTTP/1.")


# -- metadata --------------------------------------------------------------------------------------------------------------


def status(path: str, size: int = 1, mtime_ms: int | None = 5000, **more: bool) -> FileStatus:
    return FileStatus(path, more.pop("is_directory", False), size, mtime_ms, **more)


def test_versions_are_compared_as_finely_as_both_stores_keep_time():
    assert status("x", 1, 5000).same_version(status("x", 1, 5000))
    assert status("x", 1, 5000).same_version(status("x", 1, 5123))
    assert status("x", 1, None).same_version(status("x", 1, 5123))
    assert status("x", 1, 5124).same_version(status("x", 1, 5123))
    assert not status("x", 1, 5125).same_version(status("x", 1, 5123))
    assert not status("x", 1, 5000).same_version(status("x", 1, 6000))
    assert not status("x", 1).same_version(status("x", 2))


def test_the_metadata_cache_forgets_by_time_and_by_size():
    now = [0.0]
    cache = MetadataCache(ttl_s=10, maxsize=2, clock=lambda: now[0])
    cache.put([status("a"), status("b")])
    assert cache.get("a") is not None
    cache.put([status("c")])
    assert cache.get("b") is None
    now[0] = 10
    assert cache.get("a") is None
    assert cache.look_up("d", lambda path: status(path)).path == "d"
    assert cache.get("d") is not None
    assert cache.look_up("none", lambda _: None) is None


def test_a_mark_covers_what_lies_below_it():
    changed = ChangedPaths(["s3://b/dir", "s3://b/f"])
    assert changed.covers("s3://b/dir/x/y")
    assert changed.covers("s3://b/f")
    assert not changed.covers("s3://b/g")
    assert changed.touches("s3://b")
    assert not changed.touches("s3://c")
    changed.discard("s3://b/f")
    assert not changed.covers("s3://b/f")
    assert list(changed) == ["s3://b/dir"]


def test_the_under_store_decides_what_a_listing_holds():
    cluster = [status("d/same"), status("d/changed", 1), status("d/deleted")]
    ufs = [status("d/changed", 2, from_ufs=True), status("d/new", from_ufs=True), status("d/same", from_ufs=True)]
    merged = reconcile(cluster, ufs)
    assert [(s.path, s.size, s.from_ufs) for s in merged] == [("d/changed", 2, True), ("d/new", 1, True), ("d/same", 1, False)]


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'[{"mType":"file"}]', b'[{"mType":"socket","mUfsPath":"x","mLength":1}]', b"[1]"]
)
def test_metadata_that_cannot_be_decoded(body):
    with pytest.raises(errors.ProtocolError, match="w:1") as caught:
        decode_statuses(body, worker="w:1", path="s3://b/x")
    assert caught.value.filename == "s3://b/x"


# -- errors ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in errors.__all__ if n != "error_for_status"])
def test_errors_pickle_and_refine_builtins(name):
    kind = getattr(errors, name)
    error = pickle.loads(
        pickle.dumps(kind("what", "where") if issubclass(kind, OSError) and "Member" not in name else kind("what"))
    )
    assert type(error) is kind
    assert isinstance(error, errors.AlluxioError)
    assert "what" in str(error)
    if name in alluxio_arrow.__all__:
        assert getattr(alluxio_arrow, name) is kind


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (404, FileNotFoundError),
        (403, PermissionError),
        (503, ConnectionError),
        (504, TimeoutError),
        (500, errors.WorkerError),
        (418, OSError),
    ],
)
def test_statuses_become_builtin_errors(code, kind):
    error = errors.error_for_status(code, b'{"message":"why"}', worker="w:1", path="/x")
    assert isinstance(error, kind)
    assert error.filename == "/x"
    assert "why" in str(error)
    assert "w:1" in str(error)


# -- properties ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"), [("1MB", 1 << 20), ("20mb", 20 << 20), ("1.5k", 1536), ("7", 7), ("2GiB", 2 << 30), ("1b", 1)]
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"), [("2min", 120), ("30s", 30), ("500", 0.5), ("1h", 3600), ("-1s", -1), ("1day", 86400)]
)
def test_durations(text, seconds):
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("parse", [parse_size, parse_duration_s, parse_bool])
def test_malformed_values(parse):
    for text in ("", "x", "1 2", "1xb"):
        with pytest.raises(ValueError, match="is n"):
            parse(text)


def test_site_properties(tmp_path):
    path = tmp_path / "alluxio-site.properties"
    path.write_text("# note\n! note\na=1\nb : two words \nlong=x,\\\n   y\nu=\\u00e4\nc ${a}/d\na=2\nempty=\n")
    assert read_site_properties(path) == {"a": "2", "b": "two words", "long": "x,y", "u": "ä", "c": "2/d", "empty": ""}
    assert parse_list(" a, ,b,") == ("a", "b")


def test_snapshots_give_addresses_in_ring_order():
    addresses = {W0: WorkerAddress("h", 1), W1: WorkerAddress("h", 2), W2: WorkerAddress("::1", 3)}
    snapshot = Snapshot(HashRing(addresses), addresses, 7)
    assert [str(a) for a in snapshot.candidates("s3://bucket/dir/file.parquet", 3)] == ["h:2", "[::1]:3", "h:1"]
