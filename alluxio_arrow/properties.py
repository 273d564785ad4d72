"""Alluxio's property syntax: values as Java reads them, and its ``alluxio-site.properties`` file."""

from __future__ import annotations

import os
import re
from pathlib import Path

__all__ = ["parse_bool", "parse_duration_s", "parse_list", "parse_size", "read_site_properties"]

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)", re.IGNORECASE)
_DURATION = re.compile(r"(-?[0-9]+)\s*([a-z]*)", re.IGNORECASE)

#: Powers of 1024, whatever the unit is called.
_SIZE_UNITS = {
    name: 1024**power
    for power, letter in enumerate(("", "k", "m", "g", "t", "p"))
    for name in ((letter, f"{letter}b", f"{letter}ib") if letter else ("", "b"))
}

_DURATION_UNITS_MS = {
    name: milliseconds
    for milliseconds, names in (
        (1, ("", "ms", "millisecond")),
        (1000, ("s", "sec", "second")),
        (60_000, ("m", "min", "minute")),
        (3_600_000, ("h", "hr", "hour")),
        (86_400_000, ("d", "day")),
    )
    for name in names
}

_UNICODE_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})|\\(.)")
_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_SEPARATOR = re.compile(r"(?<!\\)(?:\\\\)*\s*[=:\s]\s*")
_REFERENCE = re.compile(r"\$\{([^}]*)\}")


def parse_size(text: str) -> int:
    """Bytes that a size such as ``1MB``, ``1.5g`` or ``512`` means; every unit is a power of 1024.

    Raises
    ------
    ValueError
        The text is no size.
    """
    matched = _SIZE.fullmatch(text.strip())
    factor = _SIZE_UNITS.get(matched.group(2).lower()) if matched else None
    if matched is None or factor is None:
        raise ValueError(f"{text!r} is not a size such as 1MB, 512KB or 1048576")
    return int(float(matched.group(1)) * factor) if "." in matched.group(1) else int(matched.group(1)) * factor


def parse_duration_s(text: str) -> float:
    """Seconds that a time such as ``2min``, ``30s`` or ``500`` (milliseconds) means; may be negative.

    Raises
    ------
    ValueError
        The text is no time.
    """
    matched = _DURATION.fullmatch(text.strip())
    factor = _DURATION_UNITS_MS.get(matched.group(2).lower()) if matched else None
    if matched is None or factor is None:
        raise ValueError(f"{text!r} is not a time such as 2min, 30s or 500ms")
    return int(matched.group(1)) * factor / 1000


def parse_bool(text: str) -> bool:
    """Whether `text` is ``true``; case does not matter.

    Raises
    ------
    ValueError
        It is neither ``true`` nor ``false``.
    """
    lowered = text.strip().lower()
    if lowered not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return lowered == "true"


def parse_list(text: str) -> tuple[str, ...]:
    """Items between commas, trimmed, empty ones left out."""
    return tuple(item for item in (part.strip() for part in text.split(",")) if item)


def read_site_properties(path: str | os.PathLike[str]) -> dict[str, str]:
    """Keys and values of a Java properties file; of a key given twice the later value counts.

    References such as ``${alluxio.home}`` to other keys of the file are resolved; others stay as they are.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    values: dict[str, str] = {}
    for line in _logical_lines(Path(path).read_text(encoding="utf-8")):
        matched = _SEPARATOR.search(line)
        key, value = (line[: matched.start()], line[matched.end() :]) if matched else (line, "")
        values[_unescape(key)] = _unescape(value).rstrip()
    return {key: _resolve(value, values, depth=len(values)) for key, value in values.items()}


def _logical_lines(text: str) -> list[str]:
    lines: list[str] = []
    continued = ""
    for raw in text.splitlines():
        line = continued + raw.lstrip()
        continued = ""
        if not line or (line == raw.lstrip() and line[0] in "#!"):
            continue
        backslashes = len(line) - len(line.rstrip("\\"))
        if backslashes % 2:
            continued = line[:-1]
        else:
            lines.append(line)
    return [*lines, continued] if continued else lines


def _unescape(text: str) -> str:
    def replace(matched: re.Match[str]) -> str:
        if matched.group(1):
            return chr(int(matched.group(1), 16))
        return _ESCAPES.get(matched.group(2), matched.group(2))

    return _UNICODE_ESCAPE.sub(replace, text)


def _resolve(value: str, values: dict[str, str], *, depth: int) -> str:
    def replace(matched: re.Match[str]) -> str:
        target = values.get(matched.group(1))
        # The depth ends references in a circle, which no server would accept either.
        return _resolve(target, values, depth=depth - 1) if target is not None and depth > 0 else matched.group(0)

    return _REFERENCE.sub(replace, value)
