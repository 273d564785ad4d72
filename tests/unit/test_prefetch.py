"""What is guessed of a Parquet reader's next ranges."""

from __future__ import annotations

import base64
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alluxio_arrow.prefetch import Footer, Footers, Predictor, ends_with_footer

COLUMNS, GROUPS = 5, 12


@pytest.fixture(scope="module")
def content():
    rows = random.Random(1).choices(range(1 << 40), k=1200)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({f"c{index}": rows for index in range(COLUMNS)}), sink, row_group_size=100, compression="none")
    return sink.getvalue()


@pytest.fixture(scope="module")
def footer(content):
    return Footer(content.slice(content.size - 20_000))


def test_chunks_lie_where_the_footer_says(content, footer):
    assert footer.row_groups == GROUPS
    spans = [span for group in range(GROUPS) for span in footer.spans(group)]
    assert spans[0][0] == 4
    assert all(before[1] == after[0] for before, after in zip(spans, spans[1:], strict=False))
    assert spans[-1][1] < content.size
    for group in (0, 5, 11):
        for first, last in ((0, 0), (1, 3), (4, 4)):
            assert footer.locate(*footer.range_of(group, first, last)) == (group, first, last)
    start, end = footer.range_of(3, 1, 1)
    for span in ((start + 1, end), (start, end - 1), (0, 4), (start, start), (end, start)):
        assert footer.locate(*span) is None


def test_only_a_whole_footer_is_one(content):
    tail = memoryview(content)
    length = int.from_bytes(tail[-8:-4], "little") + 8
    assert ends_with_footer(tail[-length:])
    assert not ends_with_footer(tail[-length + 1 :])
    assert not ends_with_footer(tail[-7:])
    assert not ends_with_footer(memoryview(b"x" * 100))
    footers = Footers()
    footers.keep("text", pa.py_buffer(b"just text"))
    assert footers.of("text") is None
    footers.keep("broken", pa.py_buffer(b"x" * 100 + (50).to_bytes(4, "little") + b"PAR1"))
    assert footers.of("broken") is None
    footers.keep("good", content)
    assert footers.of("good").row_groups == GROUPS
    assert footers.of("good") is footers.of("good")
    for number in range(Footers.MAX_FILES):
        footers.keep(number, content)
    assert footers.of("good") is None, "the oldest goes"


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
    footers.keep("encrypted", sink.getvalue())
    assert footers.of("encrypted") is None


def ask(predictor):
    """Request all that is wanted."""
    asked = []
    while (span := predictor.next()) is not None:
        predictor.requested(span)
        asked.append(span)
    return asked


def test_the_window_opens_with_every_right_guess(footer):
    predictor = Predictor(footer)
    assert ask(predictor) == [], "nothing is known before the first read"
    predictor.read(*footer.range_of(0, 2, 2))
    assert ask(predictor) == [footer.range_of(1, 2, 2)]
    predictor.read(*footer.range_of(1, 2, 2))
    assert ask(predictor) == [footer.range_of(2, 2, 2), footer.range_of(3, 2, 2)]
    predictor.read(*footer.range_of(3, 2, 2))
    assert len(ask(predictor)) == 3


def test_several_columns_in_any_order(footer):
    wanted = [(group, column) for group in range(GROUPS) for column in (1, 3)]
    for seed in range(20):
        order = list(wanted)
        # As Arrow's eight threads do: roughly in order.
        order.sort(key=lambda item, source=random.Random(seed): item[0] + source.random() * 4)
        predictor, ahead, hits = Predictor(footer), set(), 0
        for group, column in order:
            span = footer.range_of(group, column, column)
            hits += span in ahead
            ahead.discard(span)
            predictor.read(*span)
            ahead.update(ask(predictor))
            assert not predictor.expired()
            assert len(ahead) <= 8
        assert hits > len(wanted) / 2


def test_wrong_guesses_end_it(footer):
    predictor = Predictor(footer)
    given_up = []
    predictor.read(*footer.range_of(0, 0, 0))
    for _ in range(200):
        ask(predictor)
        predictor.read(*footer.range_of(0, 4, 4))
        given_up += predictor.expired()
    assert not predictor.is_on
    assert predictor.next() is None
    assert len(given_up) == 2


def test_long_ranges_are_left_alone(monkeypatch, footer):
    monkeypatch.setattr("alluxio_arrow.prefetch._MAX_RANGE_BYTES", 10)
    predictor = Predictor(footer)
    predictor.read(*footer.range_of(0, 0, 0))
    assert predictor.next() is None
    monkeypatch.undo()
    monkeypatch.setattr("alluxio_arrow.prefetch._MAX_BYTES", 10)
    assert predictor.next() is None


@given(
    st.lists(st.tuples(st.integers(0, GROUPS - 1), st.integers(0, COLUMNS - 1), st.integers(0, 2), st.booleans()), max_size=60)
)
def test_whatever_is_read_guesses_are_chunks_not_asked_for_before(footer, steps):
    predictor, outstanding, asked = Predictor(footer), set(), []
    for group, first, more, takes in steps:
        span = footer.range_of(group, first, min(first + more, COLUMNS - 1))
        outstanding.discard(span)
        predictor.read(*span)
        outstanding.difference_update(predictor.expired())
        if not takes:
            # No connection was idle: nothing is lost by asking again.
            assert predictor.next() == predictor.next()
            continue
        for guess in ask(predictor):
            assert footer.locate(*guess) is not None
            assert guess not in outstanding
            outstanding.add(guess)
            asked.append(guess)
        assert len(outstanding) <= 8
