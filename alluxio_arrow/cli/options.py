"""The filesystem's options as flags, made from `config.OPTIONS`, and back into `Settings`."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from alluxio_arrow.cli.outcome import UsageError
from alluxio_arrow.cli.secrets import Secrets
from alluxio_arrow.config import ENVIRONMENT_PREFIX, OPTIONS, Option, Settings, make_settings

__all__ = ["add_connection_options", "connection_flags", "given_options", "settings_of"]

#: Values that only a program can give.
_NOT_FLAGS = ("fs", "trace", "target_options")

_SECRET = ("etcd_password",)
_FILES = ("etcd_ca_cert", "etcd_cert_cert", "etcd_cert_key")
_BOOLEANS = frozenset(field.name for field in fields(Settings) if field.type == "bool")

_ENVIRONMENT_SIGN = "@env:"
_FILE_SIGN = "@file:"

#: Where a flag's value lands; behind the name, so that nothing else is called like it.
_PREFIX = "option_"


def add_connection_options(parser: argparse.ArgumentParser, *, is_shown: bool, suffix: str = "") -> None:
    """Give `parser` a flag for every option of the filesystem.

    Parameters
    ----------
    parser
        A parser, the main one or a command's: the flags may stand before and after the command.
    is_shown
        Whether ``--help`` lists them.
    suffix
        Appended to the destination of flags that may be repeated: a command's parser would replace what stood before it.
    """
    group = parser.add_argument_group(
        "connection options", "also by environment (ALLUXIO_ARROW_ETCD_HOSTS, ...)" if is_shown else None
    )

    def add(flag: str, *, meaning: str, **how: Any) -> argparse.Action:
        text = _as_help(meaning) if is_shown else argparse.SUPPRESS
        return group.add_argument(flag, default=argparse.SUPPRESS, help=text, **how)

    config = add("--config", metavar="FILE", dest="config", meaning="the cluster's alluxio-site.properties")
    _complete_files(config)
    for option in OPTIONS:
        if option.name in _NOT_FLAGS:
            continue
        flag, dest = f"--{option.name.replace('_', '-')}", _PREFIX + option.name
        if option.name in _BOOLEANS:
            add(flag, meaning=option.meaning, dest=dest, action=argparse.BooleanOptionalAction)
            continue
        meaning = option.meaning
        if option.name in _SECRET:
            meaning += f"; better by {ENVIRONMENT_PREFIX}{option.name.upper()}, or as @env:NAME or @file:PATH"
        action = add(flag, meaning=meaning, dest=dest, metavar=_metavar(option))
        if option.name in _FILES:
            _complete_files(action)
    add(
        "--target-option",
        meaning="keyword argument of the under store's fsspec filesystem, may be repeated; a.b=c sets b within a, true and "
        "false are meant so, {...} and [...] are JSON; secrets as key=@env:NAME or key=@file:PATH",
        dest=f"target_option{suffix}",
        metavar="KEY=VALUE",
        action="append",
    )


def _as_help(meaning: str) -> str:
    """`meaning` with the flags' names in place of the arguments', as argparse wants it."""
    names = {option.name for option in OPTIONS} - set(_NOT_FLAGS)

    def spell(matched: re.Match[str]) -> str:
        word = matched.group(1)
        return f"--{word.replace('_', '-')}" if word in names else word

    return re.sub("`(.*?)`", spell, meaning).replace("%", "%%")


def _metavar(option: Option) -> str:
    name = option.name
    if name.endswith("_hosts"):
        return "HOSTS"
    if name in _FILES:
        return "FILE"
    for ending, metavar in (
        ("_port", "PORT"),
        ("_s", "SECONDS"),
        ("interval", "SECONDS"),
        ("page_size", "SIZE"),
        ("root", "URL"),
    ):
        if name.endswith(ending):
            return metavar
    return "TEXT" if name.startswith(("etcd", "cluster", "target")) else "N"


def _complete_files(action: argparse.Action) -> None:
    # What shtab looks for: the shell's own completion of file names.
    action.complete = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}  # type: ignore[attr-defined]


def given_options(arguments: argparse.Namespace, secrets: Secrets) -> dict[str, Any]:
    """The options that flags give, by name; what they hold is hidden from now on where it is secret.

    Raises
    ------
    UsageError
        A ``--target-option`` is malformed, or what it refers to cannot be read.
    """
    values = {
        name.removeprefix(_PREFIX): value
        for name, value in vars(arguments).items()
        if name.startswith(_PREFIX) and value is not None
    }
    for name in _SECRET:
        if name in values:
            secrets.add(values[name])
            values[name] = _dereference(values[name], f"--{name.replace('_', '-')}")
            secrets.add(values[name])
    pairs = [*getattr(arguments, "target_option", ()), *getattr(arguments, "target_option_after", ())]
    if pairs:
        values["target_options"] = _target_options(pairs, secrets)
    return values


def connection_flags(arguments: argparse.Namespace) -> list[str]:
    """The connection options of the command line as words for another one, without those that may be secret."""
    words = ["--config", arguments.config] if getattr(arguments, "config", None) else []
    for name, value in vars(arguments).items():
        option = name.removeprefix(_PREFIX)
        if not name.startswith(_PREFIX) or option in _SECRET:
            continue
        flag = option.replace("_", "-")
        words += [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    return words


def _target_options(pairs: Iterable[str], secrets: Secrets) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator or not key:
            raise UsageError("--target-option must look like key=value")
        *above, last = key.split(".")
        secrets.add(text, last)
        place = options
        for name in above:
            inner = place.setdefault(name, {})
            if not isinstance(inner, dict):
                raise UsageError(f"--target-option {key}: {name} has a value of its own already")
            place = inner
        place[last] = _value(text, f"--target-option {key}")
    secrets.add(options)
    return options


def _value(text: str, name: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    if text.startswith(("{", "[")):
        try:
            return json.loads(text)
        except ValueError:
            raise UsageError(f"{name}: the value begins like JSON but is none") from None
    return _dereference(text, name)


def _dereference(text: str, name: str) -> str:
    """`text`, or what the variable or file holds that it refers to."""
    if text.startswith(_ENVIRONMENT_SIGN):
        variable = text.removeprefix(_ENVIRONMENT_SIGN)
        value = os.environ.get(variable)
        if value is None:
            raise UsageError(f"{name}: the environment has no variable {variable}")
        return value
    if text.startswith(_FILE_SIGN):
        path = text.removeprefix(_FILE_SIGN)
        try:
            return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{name}: {path} cannot be read: {getattr(error, 'strerror', None) or 'no text'}") from None
    return text


def settings_of(arguments: argparse.Namespace, secrets: Secrets) -> Settings:
    """The configuration that flags, ``--config`` and the environment give together.

    Raises
    ------
    ConfigError, UsageError
        Something is malformed, missing or in conflict.
    """
    given = given_options(arguments, secrets)
    settings = make_settings(options=getattr(arguments, "config", None), **given)
    secrets.add(settings.etcd_password)
    secrets.add(settings.target_options)
    return settings
