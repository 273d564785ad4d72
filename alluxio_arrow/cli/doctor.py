"""``doctor``: what is wrong, and what to change."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import asdict

from alluxio_arrow.cli.checks import Checks
from alluxio_arrow.cli.findings import Finding, exit_code, show
from alluxio_arrow.cli.session import Session

__all__ = ["run"]


def run(session: Session, arguments: argparse.Namespace) -> int:
    """Look at everything, one finding per thing."""
    out = session.out
    findings: list[Finding] = []
    for finding in Checks(session, arguments.path or session.default_path(), arguments.files).run():
        findings.append(finding.without_secrets(out))
        if not out.as_json:
            show(out, findings[-1])
    if out.as_json:
        out.json([asdict(finding) for finding in findings])
    else:
        levels = Counter(finding.level for finding in findings)
        out.line()
        if levels["fail"] or levels["warn"]:
            out.line(f"{levels['fail']} failed, {levels['warn']} to look at, {levels['ok']} fine")
        else:
            out.line(f"nothing is wrong: {levels['ok']} fine" + (f", {levels['skip']} not looked at" if levels["skip"] else ""))
    return exit_code(findings)
