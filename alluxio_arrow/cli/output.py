"""What is seen: tables that fit the terminal, colour where it is wanted, JSON, and one place that notices closed pipes."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from alluxio_arrow.cli.secrets import Secrets

__all__ = ["Cell", "ClosedOutputError", "Column", "Output", "cut", "display_width", "human_size", "human_time"]

_STYLES = {"good": "32", "bad": "31", "warn": "33", "dim": "2", "bold": "1"}

#: Columns between two columns of a table.
_GAP = "  "


class ClosedOutputError(Exception):
    """Whoever read standard output went away (``alluxio-arrow cat x | head``)."""


class Cell(NamedTuple):
    """A text with a style: ``good``, ``bad``, ``warn``, ``dim``, ``bold`` or none."""

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """How a column of a table looks.

    Attributes
    ----------
    title
        Its heading.
    right
        Whether it is aligned to the right, as numbers are.
    minimum
        Characters that it keeps on a narrow terminal as long as others can give way; 0: all it has.
    keep_end
        Whether the end of a text that is cut is kept rather than its beginning, as with paths.
    """

    title: str
    right: bool = False
    minimum: int = 0
    keep_end: bool = False


class Output:
    """Standard output and standard error of a command.

    Parameters
    ----------
    secrets
        What must not be seen in errors.
    as_json
        Whether the command was asked for JSON.
    """

    def __init__(self, *, secrets: Secrets, as_json: bool = False) -> None:
        self._secrets = secrets
        self.as_json = as_json

    # -- where it goes -----------------------------------------------------------------------------------------------------

    @property
    def width(self) -> int | None:
        """Columns of the terminal (or ``COLUMNS``), or None for a pipe or file, which has no width."""
        if not os.environ.get("COLUMNS", "").isdigit() and not sys.stdout.isatty():
            return None
        return max(shutil.get_terminal_size().columns, 20)

    @property
    def has_colour(self) -> bool:
        """Whether to colour: on a terminal, unless ``NO_COLOR`` is set."""
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def write(self, text: str) -> None:
        """Write `text` as it is; characters that the terminal's encoding lacks are escaped."""
        encoding = sys.stdout.encoding or "utf-8"
        self._to_stdout(text.encode(encoding, "backslashreplace").decode(encoding))

    def write_bytes(self, data: bytes | memoryview) -> None:
        """Write bytes of a file."""
        try:
            sys.stdout.buffer.write(data)
        except BrokenPipeError as error:
            raise ClosedOutputError from error

    def _to_stdout(self, text: str) -> None:
        try:
            sys.stdout.write(text)
        except BrokenPipeError as error:
            raise ClosedOutputError from error

    def flush(self) -> None:
        """Push out what is buffered."""
        try:
            sys.stdout.flush()
        except BrokenPipeError as error:
            raise ClosedOutputError from error

    @staticmethod
    def silence() -> None:
        """Let the interpreter's own last flush go nowhere: the reader is gone."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def line(self, text: str = "") -> None:
        """Write one line, its control characters made visible."""
        self.write(visible(text) + "\n")

    def line_styled(self, text: str, style: str) -> None:
        """As `line`, in a style."""
        self.write(self.style(visible(text), style) + "\n")

    def hint(self, text: str) -> None:
        """Say to a person, on standard error, what else could be done."""
        if sys.stdout.isatty():
            self.flush()
            self.error(text)

    def error(self, text: str) -> None:
        """Write a line to standard error, without secrets."""
        sys.stderr.write(self._secrets.hide(text.rstrip("\n")) + "\n")
        sys.stderr.flush()

    def progress(self, text: str | None) -> None:
        """Show `text` in the terminal's last line, in place of the one before; None clears it. Only on a terminal."""
        if sys.stderr.isatty():
            # Room for the ^C that a terminal shows, or it would begin a new line.
            width = max(shutil.get_terminal_size().columns, 20) - 3
            sys.stderr.write("\r\x1b[K" + (cut(visible(text), width) if text else ""))
            sys.stderr.flush()

    # -- forms -------------------------------------------------------------------------------------------------------------

    def hide(self, text: str) -> str:
        """`text` without secrets."""
        return self._secrets.hide(text)

    def json(self, value: Any) -> None:
        """Write one JSON document."""
        self.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def style(self, text: str, style: str) -> str:
        """`text` in a style, if there is colour."""
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if style and text and self.has_colour else text

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[Cell | str]]) -> None:
        """Write a table: one line per row, never wider than the terminal."""
        cells = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
        cells = [[Cell(visible(cell.text), cell.style) for cell in row] for row in cells]
        heading = [Cell(column.title, "bold") for column in columns]
        widths = [max(display_width(row[index].text) for row in [heading, *cells]) for index in range(len(columns))]
        widths = fit(widths, columns, self.width)
        for row in [heading, *cells]:
            self._row(row, columns, widths)

    def _row(self, row: Sequence[Cell], columns: Sequence[Column], widths: Sequence[int]) -> None:
        parts = []
        left = self.width
        last = len(columns) - 1
        for index, (cell, column, width) in enumerate(zip(row, columns, widths, strict=True)):
            room = width if left is None else min(width, left)
            if room <= 0:
                break
            text = cut(cell.text, room, ellipsis=self._ellipsis, keep_end=column.keep_end)
            padding = " " * (room - display_width(text))
            styled = self.style(text, cell.style)
            # No blanks at the end of a line.
            parts.append(padding + styled if column.right else styled if index == last else styled + padding)
            if left is not None:
                left -= room + len(_GAP)
        self.write(_GAP.join(parts).rstrip() + "\n")

    def pairs(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Write names and values, one pair per line; long values go on in the next line, below the first."""
        known = [(name, visible(value)) for name, value in pairs]
        indent = max((len(name) for name, _ in known), default=0) + len(_GAP)
        for name, value in known:
            self.paragraph(f"{name:<{indent}}", value, style="dim")

    def paragraph(self, label: str, text: str, *, style: str = "", indent: int | None = None) -> None:
        """Write `label` and, behind it, `text`; on a terminal wrapped between words, the further lines indented alike."""
        text = visible(text)
        lines = [label + text]
        if self.width is not None:
            further = " " * (len(label) if indent is None else indent)
            lines = textwrap.wrap(text, self.width, initial_indent=label, subsequent_indent=further, break_on_hyphens=False)
        first, *rest = lines or [label]
        for line in [self.style(label, style) + first[len(label) :], *rest]:
            self.write(line.rstrip() + "\n")

    @property
    def _ellipsis(self) -> str:
        try:
            "…".encode(sys.stdout.encoding or "utf-8")
        except UnicodeEncodeError:
            return "~"
        return "…"


def fit(widths: Sequence[int], columns: Sequence[Column], limit: int | None) -> list[int]:
    """`widths` made small enough for `limit` columns, the widest first, none below its minimum while another can give way."""
    fitted = list(widths)
    if limit is None:
        return fitted
    room = limit - len(_GAP) * (len(widths) - 1)
    floors = [min(width, column.minimum) if column.minimum else width for width, column in zip(widths, columns, strict=True)]
    while sum(fitted) > room:
        loose = [index for index in range(len(fitted)) if fitted[index] > floors[index]]
        if not loose:
            break
        fitted[max(loose, key=lambda index: fitted[index])] -= 1
    return fitted


def display_width(text: str) -> int:
    """Columns that `text` takes on a terminal: two for most of East Asia's characters, none for accents put on others."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def cut(text: str, width: int, *, ellipsis: str = "…", keep_end: bool = False) -> str:
    """`text` in at most `width` columns, with a sign for what was left out."""
    if display_width(text) <= width:
        return text
    room = max(width - len(ellipsis), 0)
    kept, used = "", 0
    for character in reversed(text) if keep_end else text:
        used += display_width(character)
        if used > room:
            break
        kept = character + kept if keep_end else kept + character
    return (ellipsis + kept if keep_end else kept + ellipsis)[: max(width, 0)]


def visible(text: str) -> str:
    """`text` with control characters escaped: a file's name must not move the cursor."""
    return "".join(
        character if character.isprintable() or character == " " else character.encode("unicode_escape", "replace").decode()
        for character in text
    )


def human_size(count: float) -> str:
    """A number of bytes in three or four digits: ``0 B``, ``1.5 KiB``, ``12 MiB``."""
    units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
    # Four digits would make a column wider than the next unit's two.
    while count >= (1024 if units[0] == "B" else 999.5) and len(units) > 1:
        count /= 1024
        del units[0]
    return f"{count:.1f} {units[0]}" if count < 9.95 and units[0] != "B" else f"{count:.0f} {units[0]}"


def human_time(seconds: float) -> str:
    """A duration in a few characters: ``0.35 ms``, ``1.2 s``, ``2:05:09``."""
    if seconds < 0.00995:
        return f"{seconds * 1000:.2f} ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02} min"
