"""What `doctor` says, one finding at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from alluxio_arrow.cli.output import Output

__all__ = ["Finding", "Level", "exit_code", "show"]

Level = Literal["ok", "warn", "fail", "skip"]

_STYLES = {"ok": "good", "warn": "warn", "fail": "bad", "skip": "dim"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    check
        What was looked at, in a word or two.
    level
        ``ok``; ``warn``: it works, but not well; ``fail``: it does not work; ``skip``: it could not be looked at.
    detail
        What was seen.
    advice
        What to change; empty where nothing is to be changed.
    """

    check: str
    level: Level
    detail: str
    advice: str = ""

    def without_secrets(self, out: Output) -> Finding:
        """The same, fit to be seen."""
        return Finding(self.check, self.level, out.hide(self.detail), out.hide(self.advice))


def show(out: Output, finding: Finding) -> None:
    """Write a finding at once: the next one may take its time."""
    label = f"{finding.level:<4}  {finding.check}: "
    out.paragraph(label, finding.detail, style=_STYLES[finding.level], indent=6)
    if finding.advice:
        out.paragraph("      -> ", finding.advice, style="bold", indent=9)
    out.flush()


def exit_code(findings: list[Finding]) -> int:
    """1 if something does not work, else 0."""
    return int(any(finding.level == "fail" for finding in findings))
