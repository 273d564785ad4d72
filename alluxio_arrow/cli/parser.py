"""The words of the command line: commands, their arguments, and errors that never repeat a value."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from alluxio_arrow import __version__
from alluxio_arrow.cli.options import add_connection_options
from alluxio_arrow.cli.outcome import UsageError
from alluxio_arrow.properties import parse_size

__all__ = ["make_parser", "parse"]

_PROGRAM = "alluxio-arrow"
_SHELLS = ("bash", "zsh", "tcsh")

_EPILOG = """\
exit codes:
  0    done
  1    failed, or something unhealthy found
  2    wrong command line or configuration
  3    no such file or load job
  4    cluster unreachable
  130  ended by Ctrl-C
  141  the reader of the output went away
"""


class _Parser(argparse.ArgumentParser):
    """A parser that raises instead of ending the program, and keeps what was typed out of its errors."""

    def error(self, message: str) -> NoReturn:
        unknown = re.match(r"argument COMMAND: .*?: '(.*?)' \(", message)
        if unknown:
            near = difflib.get_close_matches(unknown.group(1), _COMMANDS, n=1)
            # The word itself is not repeated: it may be a secret that stands in a wrong place.
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(_COMMANDS)}"
            message = f"unknown command; {hint}"
        raise UsageError(f"{message} (see {self.prog} --help)")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line `argv` as a namespace, whose ``module`` and ``function`` name the command.

    Raises
    ------
    UsageError
        It cannot be understood.
    SystemExit
        It asked for help or the version, which was printed.
    """
    parser = make_parser()
    _refuse_unknown_flags(argv, parser)
    arguments, rest = parser.parse_known_args(list(argv))
    if rest:
        # Neither may be repeated as it is: it may be a secret.
        flags = [text.partition("=")[0] if text.startswith("--") else text[:2] for text in rest if re.match("-.", text)]
        raise UsageError(
            f"{arguments.command or _PROGRAM} takes no {flags[0]}"
            if flags
            else "there are more arguments than the command takes"
        )
    for name in ("json", "debug"):
        setattr(arguments, name, getattr(arguments, name, False))
    if getattr(arguments, "print_completion", None):
        arguments.module, arguments.function = "completion", "run"
    elif arguments.command is None:
        raise UsageError(f"a command is needed: {', '.join(_COMMANDS)} (see {_PROGRAM} --help)")
    return arguments


def _refuse_unknown_flags(argv: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Name a mistyped flag before argparse takes its value for a command, or repeats it."""
    parsers = [parser, *_subparsers(parser).choices.values()]
    known = {flag for each in parsers for flag in each._option_string_actions}
    for text in argv:
        if text == "--":
            return
        flag = text.partition("=")[0]
        if flag.startswith("--") and flag not in known:
            near = difflib.get_close_matches(flag, known, n=1)
            raise UsageError(f"unknown option {flag}" + (f"; did you mean {near[0]}?" if near else f" (see {_PROGRAM} --help)"))


def _subparsers(parser: argparse.ArgumentParser) -> argparse._SubParsersAction[argparse.ArgumentParser]:
    return next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))


def make_parser(*, shows_all: bool = False) -> argparse.ArgumentParser:
    """The parser of the whole command line; with `shows_all`, every command's help lists the connection options, too."""
    parser = _Parser(
        prog=_PROGRAM,
        usage="%(prog)s [OPTION ...] COMMAND [ARGUMENT ...]",
        description="Look at an Alluxio cluster, its files and its cache.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{_PROGRAM} {__version__}")
    parser.add_argument(
        "--print-completion", choices=_SHELLS, default=argparse.SUPPRESS, help="print the shell's completion script"
    )
    _add_common(parser, is_shown=True)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", prog=_PROGRAM, parser_class=_Parser)
    add_connection_options(parser, is_shown=True)
    for name, (module, function, summary, add_arguments) in _COMMANDS.items():
        command = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=f"Connection options (--etcd-hosts, --config, ...) and exit codes: {_PROGRAM} --help",
            allow_abbrev=False,
        )
        command.set_defaults(module=module, function=function)
        add_arguments(command)
        _add_common(command, is_shown=True)
        add_connection_options(command, is_shown=shows_all, suffix="_after")
    return parser


def _add_common(parser: argparse.ArgumentParser, *, is_shown: bool) -> None:
    def shown(text: str) -> str:
        return text if is_shown else argparse.SUPPRESS

    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=shown("print JSON, with exact numbers"))
    parser.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help=shown("say what is done, and show an error's traceback")
    )


def _number(low: float, kind: Callable[[str], Any] = int) -> Callable[[str], Any]:
    def parse_number(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
        if not value >= low:
            raise argparse.ArgumentTypeError(f"must be at least {low}")
        return value

    return parse_number


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _paths(parser: argparse.ArgumentParser, *, what: str, count: str = "+") -> None:
    parser.add_argument("paths", metavar="PATH", nargs=count, help=what)


def _add_workers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path",
        metavar="PATH",
        nargs="?",
        help="where loaded files lie, by which page sizes are found out (default: the configured ufs_root)",
    )


def _add_where(parser: argparse.ArgumentParser) -> None:
    _paths(parser, what="a file, or a directory for the files in it")
    parser.add_argument("-R", "--recursive", action="store_true", help="also the files below")
    parser.add_argument("--all", action="store_true", help="ask for every page of large files, not for a sample of 64")


def _add_ls(parser: argparse.ArgumentParser) -> None:
    _paths(parser, what="a file or directory (default: the configured ufs_root)", count="*")
    parser.add_argument("-l", "--long", action="store_true", help="with sizes and times of modification")
    parser.add_argument("-R", "--recursive", action="store_true", help="everything below")


def _add_info(parser: argparse.ArgumentParser) -> None:
    _paths(parser, what="a file or directory")


def _add_cat(parser: argparse.ArgumentParser) -> None:
    _paths(parser, what="a file")


def _add_head(parser: argparse.ArgumentParser) -> None:
    _paths(parser, what="a file")
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("-n", "--lines", type=_number(0), default=10, metavar="N", help="lines (default 10)")
    amount.add_argument("-c", "--bytes", type=_size, metavar="SIZE", help="bytes instead of lines, e.g. 512 or 64KB")


def _add_du(parser: argparse.ArgumentParser) -> None:
    _paths(parser, what="a file or directory (default: the configured ufs_root)", count="*")
    parser.add_argument(
        "-d", "--depth", type=_number(0), default=0, metavar="N", help="also directories so many levels below (default 0)"
    )


def _add_load(parser: argparse.ArgumentParser) -> None:
    _paths(parser, what="a file, or a directory with everything below it")
    parser.add_argument("--wait", action="store_true", help="wait for the end; Ctrl-C ends the waiting, not the job")
    parser.add_argument("--timeout", type=_number(0, float), metavar="SECONDS", help="with --wait: wait no longer than that")
    parser.add_argument("--metadata-only", action="store_true", help="load no data")
    parser.add_argument("--skip-if-exists", action="store_true", help="leave alone what is cached completely")
    parser.add_argument(
        "--partial-listing", action="store_true", help="begin before everything is listed; the total is not known then"
    )
    parser.add_argument("--verify", action="store_true", help="passed on; open-source servers only display it")
    parser.add_argument("--bandwidth", type=_size, metavar="SIZE", help="bytes per second; open-source servers only display it")
    parser.add_argument("--filter", metavar="REGEX", help="Java regular expression that a base name must match as a whole")
    parser.add_argument(
        "--through-parent",
        action=argparse.BooleanOptionalAction,
        help="load a path that workers cannot be asked about (= & ? spaces, non-ASCII) by a job of a directory above; "
        "left out: only if that loads at most twice as much",
    )


def _add_progress(parser: argparse.ArgumentParser) -> None:
    _paths(parser, what="the path that was loaded")


def _add_stop(parser: argparse.ArgumentParser) -> None:
    _paths(parser, what="the path that is being loaded")


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", nargs="?", help="where loaded files lie (default: the configured ufs_root)")
    parser.add_argument("--files", type=_number(1), default=50, metavar="N", help="files looked at, at most (default 50)")


def _add_bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="a file of yours, best one that is loaded and some 100 MB long")
    parser.add_argument("--rounds", type=_number(1), default=3, metavar="N", help="times everything is measured (default 3)")
    parser.add_argument(
        "--max-bytes", type=_size, default=256 << 20, metavar="SIZE", help="read no more of the file (default 256MB)"
    )


def _add_minicluster(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", metavar="DIRECTORY", help="what the cluster serves: a directory, or a URL such as s3://lake")
    parser.add_argument("--workers", type=_number(1), default=3, metavar="N", help="how many (default 3)")
    parser.add_argument("--load", action="store_true", help="load everything before it is ready")


#: Name -> (module, function, summary, what adds the arguments).
_COMMANDS: dict[str, tuple[str, str, str, Callable[[argparse.ArgumentParser], None]]] = {
    "workers": (
        "cluster",
        "workers",
        "show the workers: address, identity, share of the ring, health, page size",
        _add_workers,
    ),
    "where": ("cluster", "where", "show which worker owns a file, and how many of its pages are cached", _add_where),
    "ls": ("files", "ls", "list files", _add_ls),
    "info": ("files", "info", "show what is known of a file", _add_info),
    "cat": ("files", "cat", "write files to standard output", _add_cat),
    "head": ("files", "head", "write the beginning of files to standard output", _add_head),
    "du": ("files", "du", "add up sizes of files", _add_du),
    "load": ("jobs", "load", "load data into the cache", _add_load),
    "progress": ("jobs", "progress", "show how far load jobs are", _add_progress),
    "stop": ("jobs", "stop", "stop load jobs", _add_stop),
    "doctor": ("doctor", "run", "find out what is wrong, and say what to change", _add_doctor),
    "bench": ("bench", "run", "read a file with and without the cache, and say what bounds it", _add_bench),
    "minicluster": ("minicluster", "run", "run an embedded cluster to try things with, until Ctrl-C", _add_minicluster),
}
