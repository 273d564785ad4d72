"""Turns results into tables (Markdown), charts (PNG) and the list of targets with what was reached.

``python benchmarks/report.py results.json --markdown results.md --charts directory``
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GB = 1e9
NAMES = {
    "ours": "alluxio_arrow",
    "c": "C client (limit)",
    "bare_python": "bare Python (limit)",
    "local_osfile": "local file (limit)",
    "local_mmap": "local mmap (limit)",
    "urllib3_data": "urllib3 .data",
    "requests_session": "requests.Session",
    "requests_get": "requests.get",
    "alluxiofs_103": "alluxiofs 1.0.3",
    "alluxiofs_117": "alluxiofs 1.1.17",
    "obstore": "obstore (S3)",
    "pyarrow_s3": "pyarrow S3FileSystem",
    "s3fs": "s3fs",
}

Results = dict[str, Any]
Figures = dict[str, Any]


# ---- numbers ----------------------------------------------------------------------------------------------------------


def _median(figures: Figures, name: str) -> float:
    return float(figures[name]["median"])


def case_of(results: Results, name: str) -> Results | None:
    """Return a case by name."""
    return next((case for case in results["cases"] if case["name"] == name), None)


def figures_of(results: Results, name: str, client: str) -> Figures | None:
    """Return what a client measured in a case; None when it did not take part or failed."""
    case = case_of(results, name)
    figures = case["results"].get(client) if case else None
    return None if figures is None or "error" in figures else figures


def _wall(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.1f} ms"


def _memory(figures: Figures) -> str:
    return f"{_median(figures, 'peak_memory_bytes') / 1e6:.0f}"


def _requests(figures: Figures) -> str:
    counts = figures["requests"]
    text = ", ".join(f"{count:,} {route.replace('object_', '')}" for route, count in counts.items())
    return text or "-"


def name_of(label: str) -> str:
    """Return a contender's name for people."""
    client, _, revision = label.partition("@")
    return NAMES.get(client, client) + (f" @ {revision}" if revision else "")


def row_of(case: Results, label: str) -> list[str]:
    """Return a table's row: name, wall with spread, rate, CPU, memory, what went over the wire."""
    figures = case["results"][label]
    if "error" in figures:
        return [name_of(label), "failed: " + figures["error"].replace("|", "/").replace("\n", " ")[:140], "", "", "", "", ""]
    wall, cpu = figures["wall_s"], _median(figures, "cpu_s")
    spread = f"{_wall(wall['median'])} ({_wall(wall['min'])} - {_wall(wall['max'])})"
    if "us_per_lookup" in figures["extra"]:
        best = wall["median"] / wall["rounds"][-1] * figures["extra"]["us_per_lookup"]
        return [name_of(label), spread, f"{best:.2f} us each", "", _memory(figures), "-", ""]
    useful = case["useful_bytes"]
    rate = f"{useful / wall['median'] / GB:.2f}" if useful else ""
    cost = f"{cpu / useful * GB:.3f}" if useful else _wall(cpu)
    return [
        name_of(label),
        spread,
        rate,
        cost,
        _memory(figures),
        _requests(figures),
        f"{figures['body_bytes'] / 1e6:,.1f}" if figures["body_bytes"] else "-",
    ]


def lines_of_case(case: Results) -> str:
    """Return a case as lines for a terminal."""
    return "\n".join(
        "  {:22} {:36} {:>13} {:>9} {:>6}  {} {}".format(*row_of(case, label)).rstrip() for label in case["results"]
    )


# ---- tables -----------------------------------------------------------------------------------------------------------


def merged(runs: list[Results]) -> Results:
    """Return several runs as one: where they have the same case, the last one's counts, with all of its clients."""
    cases = {case["name"]: case for run in runs for case in run["cases"]}
    first = {case["name"]: None for run in runs for case in run["cases"]}
    return {**runs[0], "cases": [cases[name] for name in first], "runs": [run["about"] for run in runs]}


def _made_by(about: dict[str, Any]) -> str:
    changed = " (with changes)" if about["changed"] else ""
    return (
        f"- `{about['command']}` on {about['date']}, commit {about['commit']}{changed}; {about['cores']} cores "
        f"({about['processor']}), {about['system']}, Python {about['python']}, data scale {about['scale']:g}, served by the "
        f"{about['target']}"
    )


def markdown(results: Results) -> str:
    """Return all tables and the targets as Markdown."""
    parts = ["\n".join(_made_by(about) for about in results.get("runs") or [results["about"]])]
    parts.append("GB is 10^9 bytes. Median (fastest - slowest) of the rounds.")
    found = list(checks(results))
    if found:
        parts += ["## Targets", checks_markdown(found)]
    parts.append("## Cases")
    for case in results["cases"]:
        parts.append(f"### {case['title']}\n\n`{case['name']}`, {case['rounds']} rounds")
        head = [
            "client",
            "wall",
            "GB/s",
            "CPU s/GB" if case["useful_bytes"] else "CPU",
            "peak MB",
            "requests",
            "MB on the wire",
        ]
        if case["workload"] == "look_up":
            head[2] = "look-up"
        rows = [row_of(case, label) for label in case["results"]]
        parts.append(
            "\n".join(
                ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"] + ["| " + " | ".join(row) + " |" for row in rows]
            )
        )
    return "\n\n".join(parts) + "\n"


# ---- targets ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Check:
    """One target and what was measured for it.

    Attributes
    ----------
    case : str
        Name of the case.
    target : str
        In words.
    measured : str
        In numbers.
    reached : bool or None
        None: could not be decided, because a client is missing.
    """

    case: str
    target: str
    measured: str
    reached: bool | None


#: case, peer, how many times faster ours must be
AGAINST_PEERS = (
    ("read_at_8mb", "requests_session", 5),
    ("read_at_8mb", "urllib3_data", 2),
    ("read_at_4mb", "requests_session", 5),
    ("read_at_4mb", "urllib3_data", 2),
    ("random_64kb", "requests_session", 5),
    ("read_table_plain", "alluxiofs_103", 5),
    ("read_table_plain", "urllib3_data", 1.9),
    ("read_table_snappy", "alluxiofs_103", 5),
    ("read_table_snappy", "urllib3_data", 1.9),
    ("columns", "alluxiofs_103", 9),
    ("dataset", "alluxiofs_103", 5),
    ("read_at_8mb@1ms", "requests_session", 8),
    ("small_files", "requests_session", 4),
    ("small_files@1ms", "requests_session", 4),
    ("small_files@10ms", "requests_session", 2),
)
#: case, limit, at least this part of its speed
AGAINST_LIMITS = (
    ("read_at_8mb", "c", 0.85),
    ("read_at_4mb", "c", 0.85),
    ("read_table_plain", "local_osfile", 0.75),
    ("read_table_snappy", "local_osfile", 0.75),
    ("columns", "local_osfile", 0.55),
    ("dataset", "local_osfile", 0.75),
)
#: case, at most this many times the C client's CPU
AGAINST_C_CPU = (("read_at_8mb", 1.3), ("read_at_4mb", 1.3), ("random_64kb", 1.5))


def checks(results: Results) -> Iterator[Check]:
    """Yield every target whose case was run."""
    for name, peer, times in AGAINST_PEERS:
        yield from _against_peer(results, name, peer, times)
    yield from _random_cpu(results)
    for name, limit, part in AGAINST_LIMITS:
        yield from _ratio(results, name, f"wall >= {part:g} of {NAMES[limit]}", limit, "wall_s", at_least=part)
    for name, times in AGAINST_C_CPU:
        yield from _ratio(results, name, f"CPU <= {times:g}x of {NAMES['c']}", "c", "cpu_s", at_most=times)
    yield from _absolute(results)


def _pair(results: Results, name: str, other: str) -> tuple[Figures, Figures] | None:
    ours, theirs = figures_of(results, name, "ours"), figures_of(results, name, other)
    return (ours, theirs) if ours and theirs else None


def _undecided(results: Results, name: str, target: str) -> Iterator[Check]:
    if case_of(results, name):
        yield Check(name, target, "a client failed or was not run", None)


def _against_peer(results: Results, name: str, peer: str, times: float) -> Iterator[Check]:
    target = f">= {times:g}x {NAMES[peer]}"
    pair = _pair(results, name, peer)
    if pair is None:
        yield from _undecided(results, name, target)
        return
    wall, cpu = (_median(pair[1], figure) / _median(pair[0], figure) for figure in ("wall_s", "cpu_s"))
    # Processor time is what decides where the clock is noisy, so both are told and either may carry the target.
    yield Check(name, target, f"wall {wall:.1f}x, CPU {cpu:.1f}x", wall >= times or cpu >= times)


def _random_cpu(results: Results) -> Iterator[Check]:
    pair = _pair(results, "random_64kb", "requests_session")
    if pair:
        times = _median(pair[1], "cpu_s") / _median(pair[0], "cpu_s")
        yield Check("random_64kb", ">= 10x requests.Session in CPU", f"{times:.1f}x", times >= 10)


def _ratio(
    results: Results, name: str, target: str, other: str, figure: str, at_least: float = 0.0, at_most: float = 0.0
) -> Iterator[Check]:
    pair = _pair(results, name, other)
    if pair is None:
        yield from _undecided(results, name, target)
        return
    ours, theirs = _median(pair[0], figure), _median(pair[1], figure)
    if at_least:
        yield Check(name, target, f"{theirs / ours:.2f}", theirs / ours >= at_least)
    else:
        yield Check(name, target, f"{ours / theirs:.2f}x", ours / theirs <= at_most)


def _absolute(results: Results) -> Iterator[Check]:
    pair = _pair(results, "columns@1ms", "local_osfile")
    if pair:
        ranges = case_of(results, "columns@1ms")["facts"]["ranges"]  # type: ignore[index]
        ours, local = _median(pair[0], "wall_s"), _median(pair[1], "wall_s")
        allowed = 2 * local + ranges * 1e-3
        yield Check(
            "columns@1ms",
            f"wall <= 2x local file + {ranges} x 1 ms (one round trip per row-group range)",
            f"{ours * 1e3:.0f} ms of {allowed * 1e3:.0f} ms",
            ours <= allowed,
        )
    ours_delayed = figures_of(results, "read_at_8mb@1ms", "ours")
    if ours_delayed:
        useful = case_of(results, "read_at_8mb@1ms")["useful_bytes"]  # type: ignore[index]
        cost = _median(ours_delayed, "cpu_s") / useful * GB
        yield Check("read_at_8mb@1ms", "CPU <= 0.2 s/GB", f"{cost:.3f} s/GB", cost <= 0.2)
    for name in ("small_files", "small_files@1ms", "small_files@10ms"):
        figures, case = figures_of(results, name, "ours"), case_of(results, name)
        if figures and case:
            files, pages = case["facts"]["files"], figures["requests"].get("page", 0)
            first = figures["first_run"]["requests"].get("page", 0)
            text = f"{pages:,} for {files:,} files ({first:,} in the first run)"
            # Discovery opens the first file once more, for the schema.
            yield Check(name, "exactly one page request per opened file", text, pages <= files + 1 and first <= files + 1)
    figures, case = figures_of(results, "list_directory", "ours"), case_of(results, "list_directory")
    if figures and case:
        first = figures["first_run"]["requests"]
        text = f"{first.get('files', 0)} files, {first.get('info', 0)} info for {case['facts']['files']:,} files"
        yield Check(
            "list_directory", "one files request, none per file", text, first.get("files") == 1 and not first.get("info")
        )
    for workers in (50, 1000):
        ring = figures_of(results, f"ring_{workers}", "ours")
        if ring:
            each = ring["extra"]["us_per_lookup"]
            yield Check(f"ring_{workers}", "one look-up < 5 us", f"{each:.2f} us", each < 5)
    scan, case = figures_of(results, "scan_memory", "ours"), case_of(results, "scan_memory")
    if scan and case:
        peak, useful = _median(scan, "peak_memory_bytes"), case["useful_bytes"]
        grown = peak - _median(scan, "base_memory_bytes")
        yield Check(
            "scan_memory",
            "memory is bounded: grows by less than a quarter of what is scanned",
            f"by {grown / 1e6:,.0f} MB to {peak / 1e6:,.0f} MB for {useful / 1e6:,.0f} MB",
            grown < useful / 4,
        )


def checks_markdown(found: list[Check]) -> str:
    """Return the targets as a table."""
    words = {True: "reached", False: "**not reached**", None: "undecided"}
    lines = ["| case | target | measured | |", "|---|---|---|---|"]
    lines += [f"| `{check.case}` | {check.target} | {check.measured} | {words[check.reached]} |" for check in found]
    return "\n".join(lines)


# ---- charts -----------------------------------------------------------------------------------------------------------

OURS, OTHER_OURS, LIMIT, PEER = "#d1495b", "#e9a6ae", "#9aa5b1", "#2e6f95"
LINES = {
    "ours": ("#d1495b", "-", "o"),
    "c": ("#6b7280", "--", "s"),
    "local_osfile": ("#9aa5b1", "--", "^"),
    "local_mmap": ("#c3cad2", "--", "v"),
    "urllib3_data": ("#2e6f95", "-", "D"),
    "requests_session": ("#5aa9c9", "-", "v"),
    "alluxiofs_103": ("#8a5a9e", "-", "P"),
    "alluxiofs_117": ("#b58cc6", "-", "X"),
    "obstore": ("#3f8f5f", "-", "<"),
    "pyarrow_s3": ("#8fb339", "-", ">"),
    "s3fs": ("#c9a227", "-", "*"),
    "requests_get": ("#a3cfe0", "-", "h"),
}


def charts(results: Results, directory: Path) -> list[Path]:
    """Draw the charts whose cases were run, and return their files."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update(
        {
            "figure.dpi": 130,
            "font.size": 9,
            "axes.titlesize": 10,
            "axes.titleweight": "bold",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "figure.constrained_layout.use": True,
        }
    )
    directory.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, draw in (
        ("read_at", _draw_read_at),
        ("random", _draw_random),
        ("parquet", _draw_parquet),
        ("delay", _draw_delay),
        ("scaling", _draw_scaling),
    ):
        figure = draw(plt, results)
        if figure is not None:
            figure.savefig(directory / f"{name}.png")
            plt.close(figure)
            drawn.append(directory / f"{name}.png")
    return drawn


def _colour(label: str) -> str:
    if label == "ours":
        return OURS
    if label.startswith("ours@"):
        return OTHER_OURS
    return LIMIT if label in {"c", "bare_python", "local_osfile", "local_mmap"} else PEER


def _bars(axes: Any, case: Results, value: Any, title: str, unit: str, *, skip: tuple[str, ...] = (), low: bool = True) -> None:
    """Draw one horizontal bar per client, best on top; *low*: smaller is better."""
    found = [
        (label, value(figures)) for label, figures in case["results"].items() if "error" not in figures and label not in skip
    ]
    found.sort(key=lambda item: item[1], reverse=low)
    places = range(len(found))
    axes.barh(places, [amount for _, amount in found], color=[_colour(label) for label, _ in found], height=0.72)
    axes.set_yticks(list(places), [name_of(label) for label, _ in found])
    for tick, (label, _) in zip(axes.get_yticklabels(), found, strict=True):
        if label == "ours":
            tick.set_fontweight("bold")
    largest = max(amount for _, amount in found)
    for place, (_, amount) in zip(places, found, strict=True):
        text = f"{amount:.0f}" if amount >= 100 else f"{amount:.3g}"
        axes.text(amount + largest * 0.012, place, text, va="center", fontsize=8, color="#374151")
    axes.set_xlim(0, largest * 1.13)
    broken = [name_of(label) for label, figures in case["results"].items() if "error" in figures and label not in skip]
    axes.set_title(f"{title}\n{unit}" + (f" ({', '.join(broken)} failed)" if broken else ""), loc="left")
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)


def _draw_read_at(plt: Any, results: Results) -> Any:
    case = case_of(results, "read_at_8mb")
    if case is None:
        return None
    useful = case["useful_bytes"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    skip = ("local_mmap",)  # it moves no bytes: its bar would leave no room for the others
    _bars(
        left,
        case,
        lambda f: useful / _median(f, "wall_s") / GB,
        "ReadAt 8 MB, in order",
        "GB/s, longer is better",
        skip=skip,
        low=False,
    )
    _bars(
        right, case, lambda f: _median(f, "cpu_s") / useful * GB, "Client processor time", "s/GB, shorter is better", skip=skip
    )
    return figure


def _draw_random(plt: Any, results: Results) -> Any:
    case = case_of(results, "random_64kb")
    if case is None:
        return None
    reads = case["facts"]["reads"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    for axes, name, title in ((left, "wall_s", "Random 64 KB, one thread"), (right, "cpu_s", "Client processor time")):
        _bars(
            axes,
            case,
            lambda f, name=name: _median(f, name) / reads * 1e6,
            title,
            "microseconds per read, shorter is better",
            skip=("local_mmap",),
        )
    return figure


def _draw_parquet(plt: Any, results: Results) -> Any:
    names = ("read_table_plain", "read_table_snappy", "columns", "columns@1ms", "dataset", "small_files")
    found = [case for name in names if (case := case_of(results, name))]
    if not found:
        return None
    figure, grid = plt.subplots((len(found) + 1) // 2, 2, figsize=(10, 3.1 * ((len(found) + 1) // 2)), squeeze=False)
    for axes in grid.flat[len(found) :]:
        axes.set_visible(False)
    for axes, case in zip(grid.flat, found, strict=False):
        _bars(
            axes,
            case,
            lambda f: _median(f, "wall_s") * 1e3,
            case["title"].replace("read_table, 2 of", "2 of"),
            "ms, shorter is better",
        )
    return figure


def _lines(axes: Any, results: Results, points: list[tuple[str, str]], value: Any, *, skip: tuple[str, ...] = ()) -> bool:
    """Draw one line per client over the cases of *points* (label, case); say whether anything was drawn."""
    known = [(label, case) for label, name in points if (case := case_of(results, name))]
    if len(known) < 2:
        axes.set_visible(False)
        return False
    for client, (colour, style, marker) in LINES.items():
        if client in skip:
            continue
        places, values = [], []
        for place, (_, case) in enumerate(known):
            figures = case["results"].get(client)
            if figures and "error" not in figures:
                places.append(place)
                values.append(value(case, figures))
        if len(places) > 1:
            width = 2.4 if client == "ours" else 1.4
            axes.plot(places, values, style, color=colour, marker=marker, markersize=5, linewidth=width, label=name_of(client))
    axes.set_xticks(range(len(known)), [label for label, _ in known])
    axes.grid(axis="y", color="#e5e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    return True


def _shared_legend(figure: Any, grid: Any) -> None:
    entries: dict[str, Any] = {}
    for axes in grid:
        if axes.get_visible():
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
                entries.setdefault(label, handle)
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=5, frameon=False, fontsize=8)


def _draw_delay(plt: Any, results: Results) -> Any:
    from matplotlib import ticker

    figure, grid = plt.subplots(1, 3, figsize=(12, 4.6))
    delays = (("0", ""), ("1 ms", "@1ms"), ("10 ms", "@10ms"))

    def points(name: str) -> list[tuple[str, str]]:
        return [(label, name + suffix) for label, suffix in delays]

    skip = ("local_mmap", "local_osfile")
    drawn = [
        _lines(grid[0], results, points("read_at_8mb"), lambda c, f: c["useful_bytes"] / _median(f, "wall_s") / GB, skip=skip),
        _lines(grid[1], results, points("columns"), lambda c, f: _median(f, "wall_s"), skip=("local_mmap",)),
        _lines(grid[2], results, points("small_files"), lambda c, f: _median(f, "wall_s"), skip=("local_mmap",)),
    ]
    if not any(drawn):
        plt.close(figure)
        return None
    for axes, title in zip(
        grid,
        (
            "ReadAt 8 MB\nGB/s (higher is better)",
            "2 of 22 columns\nseconds (lower is better)",
            "Small Parquet files\nseconds (lower is better)",
        ),
        strict=True,
    ):
        axes.set_title(title, loc="left")
        axes.set_xlabel("server delay per request")
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(ticker.NullLocator())
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    _shared_legend(figure, grid)
    return figure


def _draw_scaling(plt: Any, results: Results) -> Any:
    figure, grid = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True)

    def rate(case: Results, figures: Figures) -> float:
        return float(case["useful_bytes"]) / _median(figures, "wall_s") / GB

    drawn = [
        _lines(
            grid[0], results, [("1", "read_at_8mb"), *((str(n), f"threads_{n}") for n in (2, 4, 8))], rate, skip=("local_mmap",)
        ),
        _lines(
            grid[1], results, [("1", "read_at_8mb"), *((str(n), f"processes_{n}") for n in (2, 4))], rate, skip=("local_mmap",)
        ),
    ]
    if not any(drawn):
        plt.close(figure)
        return None
    cores = results["about"]["cores"]
    for axes, what in zip(grid, ("threads", "processes"), strict=True):
        axes.set_title(f"ReadAt 8 MB by {what}\nGB/s together, {cores} cores shared with the server", loc="left")
        axes.set_xlabel(what)
        axes.set_ylim(bottom=0)
    _shared_legend(figure, grid)
    return figure


def main() -> None:
    """Read results, write what was asked for, and print the targets."""
    parser = argparse.ArgumentParser(description="Tables, charts and targets from benchmark results.")
    parser.add_argument("results", type=Path, nargs="+", help="JSON files of run.py; later cases replace earlier ones")
    parser.add_argument("--merge", type=Path, help="write all of them as one here")
    parser.add_argument("--markdown", type=Path, help="write the tables here")
    parser.add_argument("--charts", type=Path, help="draw the charts in this directory")
    options = parser.parse_args()
    runs = [json.loads(path.read_text()) for path in options.results]
    results = runs[0] if len(runs) == 1 else merged(runs)
    if options.merge:
        options.merge.write_text(json.dumps(results, indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(markdown(results))
    if options.charts:
        for path in charts(results, options.charts):
            print(path)
    found = list(checks(results))
    print(checks_markdown(found))
    print(f"{sum(check.reached is True for check in found)} of {len(found)} targets reached")


if __name__ == "__main__":
    main()
