"""What is guessed of a Parquet reader's next ranges."""

from __future__ import annotations

import base64
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alluxio_arrow import prefetch
from alluxio_arrow.prefetch import Footer, Footers, Predictor, Record

COLUMNS, GROUPS = 5, 12


@pytest.fixture(scope="module")
def content():
    rows = random.Random(1).choices(range(1 << 40), k=1200)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({f"c{index}": rows for index in range(COLUMNS)}), sink, row_group_size=100, compression="none")
    return sink.getvalue()


@pytest.fixture(scope="module")
def footer(content):
    return Footer(content.slice(content.size - 20_000).to_pybytes(), content.size)


def view(buffer):
    return memoryview(buffer).cast("B")


def chunk(footer, group, column, more=0):
    """The bytes of neighbouring columns, also beyond the end of the row group."""
    return footer.span(group * COLUMNS + column, group * COLUMNS + column + more)


def test_chunks_lie_where_the_footer_says(content, footer):
    assert footer.chunks == COLUMNS * GROUPS
    metadata = pq.read_metadata(pa.BufferReader(content))
    spans = [footer.span(number, number) for number in range(footer.chunks)]
    assert spans[0][0] == 4
    assert all(before[1] == after[0] for before, after in zip(spans, spans[1:], strict=False))
    assert spans[7][0] == metadata.row_group(1).column(2).dictionary_page_offset
    for first in (0, 7, 23, footer.chunks - COLUMNS):
        for more in range(COLUMNS):
            assert footer.locate(*footer.span(first, first + more)) == (first, first + more)
    start, end = footer.span(16, 16)
    for span in ((start + 1, end), (start, end - 1), (0, 4), (start, start), (end, start), (content.size, content.size + 1)):
        assert footer.locate(*span) is None
    assert footer.locate(*footer.span(0, COLUMNS)) is None, "more than a row group: what comes next cannot be told"


@given(start=st.integers(-10, 100_000), end=st.integers(-10, 100_000))
def test_only_whole_chunks_are_located(footer, start, end):
    located = footer.locate(start, end)
    assert located is None or footer.span(*located) == (start, end)


def test_chunks_beyond_the_file_are_not_believed(content):
    footer = Footer(content.to_pybytes(), 10_000)
    assert footer.span(0, 0) is not None
    assert footer.span(footer.chunks - 1, footer.chunks - 1) is None


def seen(footers, version, content, *ranges):
    for start, end in ranges:
        footers.see(version, start, view(content)[start:end], content.size)
    return footers.of(version, content.size)


def test_footers_are_seen_in_what_is_read(content):
    size = content.size
    begin = size - 8 - int.from_bytes(view(content)[-8:-4], "little")
    footers = Footers()
    assert seen(footers, "all", content, (0, size)).chunks == COLUMNS * GROUPS
    assert footers.of("all", size) is footers.of("all", size)
    assert seen(footers, "just the footer", content, (begin, size)) is not None
    # Arrow reads 64 KiB first and what is missing then; others read 8 bytes first.
    assert seen(footers, "in two steps", content, (begin + 1, size), (begin, size - 8)) is not None
    assert seen(footers, "in small steps", content, (size - 8, size), (begin, size - 8)) is not None
    assert seen(footers, "too late", content, (begin + 1, size), (begin + 1, size - 8)) is None
    assert seen(footers, "too little", content, (size - 7, size), (begin, size - 8)) is None
    assert seen(footers, "elsewhere", content, (0, size - 9), (begin, size - 8)) is None
    assert seen(footers, "text", pa.py_buffer(b"just text"), (0, 9)) is None
    broken = pa.py_buffer(b"x" * 100 + (50).to_bytes(4, "little") + b"PAR1")
    assert seen(footers, "broken", broken, (0, 108)) is None
    assert footers.of("never seen", size) is None


def test_only_so_many_footers_are_kept(content, monkeypatch):
    footers = Footers()
    assert seen(footers, "first", content, (0, content.size)) is not None
    for number in range(Footers.MAX_FILES):
        seen(footers, number, content, (0, content.size))
    assert footers.of("first", content.size) is None
    monkeypatch.setattr(prefetch, "_MAX_FOOTER_BYTES", 10)
    assert seen(footers, "too long", content, (0, content.size)) is None


class KeysInTheOpen:
    """What pyarrow asks of a key service, without keeping anything secret."""

    def wrap_key(self, key, _name):
        return base64.b64encode(key)

    def unwrap_key(self, wrapped, _name):
        return base64.b64decode(wrapped)


def test_files_with_encrypted_columns_are_left_alone():
    """pyarrow ends the whole process when it is asked where an encrypted column lies."""
    encryption = pytest.importorskip("pyarrow.parquet.encryption")

    class Keys(KeysInTheOpen, encryption.KmsClient):
        pass

    properties = encryption.CryptoFactory(lambda _: Keys()).file_encryption_properties(
        encryption.KmsConnectionConfig(),
        encryption.EncryptionConfiguration(footer_key="a", column_keys={"b": ["secret"]}, plaintext_footer=True),
    )
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"open": [1, 2], "secret": [3, 4]}), sink, encryption_properties=properties)
    footers = Footers()
    content = sink.getvalue()
    footers.see("encrypted", 0, view(content), content.size)
    assert footers.of("encrypted", content.size) is None
    # 28 bytes of signature follow the metadata. Readers of open columns do not miss them.
    length = int.from_bytes(view(content)[-8:-4], "little") - 28
    unsigned = bytes(view(content)[:-36]) + length.to_bytes(4, "little") + b"PAR1"
    assert pq.read_table(pa.BufferReader(unsigned), columns=["open"]).num_rows == 2
    footers.see("unsigned", 0, memoryview(unsigned), len(unsigned))
    assert footers.of("unsigned", len(unsigned)) is None


def ask(predictor):
    """Request all that is wanted."""
    asked = []
    while (span := predictor.next()) is not None:
        predictor.requested()
        asked.append(span)
    return asked


def test_the_window_opens_with_every_right_guess(footer):
    predictor = Predictor(footer, Record())
    assert ask(predictor) == [], "nothing is known before the first read"
    predictor.read(*chunk(footer, 0, 2))
    assert ask(predictor) == [chunk(footer, group, 2) for group in (1, 2, 3, 4)]
    predictor.read(*chunk(footer, 1, 2))
    assert ask(predictor) == [chunk(footer, group, 2) for group in (5, 6, 7, 8, 9)]
    predictor.read(*chunk(footer, 3, 2))
    assert ask(predictor) == [chunk(footer, 10, 2)], "never more than eight"


def test_skipped_row_groups_are_guessed_too(footer):
    """Threads overtake each other, so what lies before a range may well come after it."""
    predictor = Predictor(footer, Record())
    predictor.read(*chunk(footer, 0, 2))
    predictor.read(*chunk(footer, 3, 2))
    assert ask(predictor) == [chunk(footer, group, 2) for group in (1, 2, 4, 5)]


@pytest.mark.parametrize("columns", [[1], [1, 3], [0, 2, 4]])
def test_several_columns_in_any_order(footer, columns):
    wanted = [(group, column) for group in range(GROUPS) for column in columns]
    for seed in range(20):
        order = list(wanted)
        # As Arrow's eight threads do: roughly in order.
        order.sort(key=lambda item, source=random.Random(seed): item[0] + source.random() * 4)
        predictor, ahead, hits = Predictor(footer, Record()), set(), 0
        for group, column in order:
            span = chunk(footer, group, column)
            hits += span in ahead
            ahead.discard(span)
            predictor.read(*span)
            ahead.update(ask(predictor))
            assert not predictor.expired()
            assert len(ahead) <= 8
        assert not ahead
        assert hits > len(wanted) * 0.6


@pytest.mark.parametrize("overtaking", [False, True])
def test_neighbours_of_two_row_groups_are_one_range(footer, overtaking):
    """Arrow merges the last chunk of a row group and the first one of the next, but for the first and the last one."""
    predictor, ahead, hits = Predictor(footer, Record()), set(), 0
    edges = [chunk(footer, 0, 0), chunk(footer, GROUPS - 1, 4)]
    between = [chunk(footer, group, 4, 1) for group in range(GROUPS - 1)]
    for span in [*between[:4], *edges, *between[4:]] if overtaking else [edges[0], *between, edges[1]]:
        hits += span in ahead
        ahead.discard(span)
        predictor.read(*span)
        for vain in predictor.expired():
            ahead.remove(vain)
        ahead.update(ask(predictor))
    assert hits == GROUPS - 2
    assert not ahead


def test_columns_are_guessed_as_they_were_read_last(footer):
    """With a hole that is just too long in some row groups, Arrow asks for two ranges there."""
    predictor = Predictor(footer, Record())
    predictor.read(*chunk(footer, 0, 1, 1))
    assert ask(predictor)[0] == chunk(footer, 1, 1, 1)
    predictor.read(*chunk(footer, 1, 1))
    assert len(predictor.expired()) == 4
    assert ask(predictor)[0] == chunk(footer, 2, 1)


def test_wrong_guesses_end_it(footer):
    predictor = Predictor(footer, Record())
    given_up = []
    predictor.read(*chunk(footer, 0, 0))
    for _ in range(200):
        ask(predictor)
        predictor.read(*chunk(footer, 0, 4))
        given_up += predictor.expired()
    assert not predictor.is_on
    assert predictor.next() is None
    assert len(given_up) <= 4


def test_where_guesses_are_wrong_evidence_comes_first(footer):
    record = Record()
    waste = 0
    for group in range(10):
        predictor = Predictor(footer, record)
        for column in (0, 3):
            predictor.read(*chunk(footer, group, column))
            waste += len(ask(predictor))
        predictor.close()
    assert not record.is_good
    assert waste <= 8, "one row group is read of each file, and that is learnt"
    predictor = Predictor(footer, record)
    asked = []
    for group in range(4):
        predictor.read(*chunk(footer, group, 1))
        asked.append(len(ask(predictor)))
    assert asked == [0, 0, 4, 1 + 4], "a scan is seen to be one"
    for _ in range(200):
        record.add(used=1)
    assert record.is_good


def test_a_table_read_in_many_ranges_is_left_alone(footer, monkeypatch):
    monkeypatch.setattr(prefetch, "_MAX_SHAPES", 2)
    predictor = Predictor(footer, Record())
    for column in (0, 2, 4):
        predictor.read(*chunk(footer, 0, column))
    assert ask(predictor) == []


def test_long_ranges_are_left_alone(monkeypatch, footer):
    monkeypatch.setattr(prefetch, "_MAX_RANGE_BYTES", 10)
    predictor = Predictor(footer, Record())
    predictor.read(*chunk(footer, 0, 0))
    assert predictor.next() is None
    monkeypatch.undo()
    monkeypatch.setattr(prefetch, "_MAX_BYTES", 10)
    assert predictor.next() is None


@given(
    st.lists(st.tuples(st.integers(0, GROUPS - 1), st.integers(0, COLUMNS - 1), st.integers(0, 3), st.booleans()), max_size=80),
    st.integers(0, 9),
)
def test_whatever_is_read_guesses_are_chunks_that_were_not_asked_for(footer, steps, unused_before):
    record = Record()
    record.add(unused=unused_before)
    predictor, outstanding, read = Predictor(footer, record), set(), set()
    for group, first, more, takes in steps:
        span = chunk(footer, group, first, min(more, footer.chunks - 1 - group * COLUMNS - first))
        outstanding.discard(span)
        read.add(span)
        predictor.read(*span)
        outstanding.difference_update(predictor.expired())
        if not takes:
            # No connection was idle: nothing is lost by asking again.
            assert predictor.next() == predictor.next()
            continue
        for guess in ask(predictor):
            assert footer.locate(*guess) is not None
            assert guess not in outstanding | read
            outstanding.add(guess)
        assert len(outstanding) <= 8
        assert sum(end - start for start, end in outstanding) <= 32 << 20
    predictor.close()
    assert predictor.expired() == []
