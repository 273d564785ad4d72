"""The configuration: one immutable, validated value made of arguments, Alluxio properties and environment variables.

One table, `OPTIONS`, states every option: its checks, its property keys, its meaning. Validation, the environment's names, the
suggestions in errors and the documentation's table all come from it.
"""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, cast

from alluxio_arrow.errors import ConfigError
from alluxio_arrow.properties import parse_bool, parse_duration_s, parse_list, parse_size, read_site_properties
from alluxio_arrow.ring import WorkerAddress
from alluxio_arrow.trace import Trace

__all__ = ["ENVIRONMENT_PREFIX", "OPTIONS", "Option", "SecretOptions", "Settings", "make_settings"]

logger = logging.getLogger(__name__)

ENVIRONMENT_PREFIX = "ALLUXIO_ARROW_"

_LONG_VNODE_KEY = "alluxio.user.worker.selection.policy.consistent.hash.virtual.node.count.per.worker"


class SecretOptions(Mapping[str, Any]):
    """Keyword arguments of the under store: compared by value, never shown, since credentials are among them."""

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        self._options = dict(options or {})

    def __getitem__(self, key: str) -> Any:
        return self._options[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._options)

    def __len__(self) -> int:
        return len(self._options)

    def __hash__(self) -> int:
        return hash(frozenset(self._options))

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{key!r}: ..." for key in self._options) + "}"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A validated configuration; made by `make_settings`. The options are described in `OPTIONS`."""

    etcd_endpoints: tuple[tuple[str, int], ...] = ()
    worker_hosts: tuple[WorkerAddress, ...] = ()
    worker_http_port: int = 28080
    cluster_name: str = "DefaultAlluxioCluster"
    etcd_username: str | None = None
    etcd_password: str | None = field(default=None, repr=False)
    etcd_ca_cert: str | None = None
    etcd_cert_cert: str | None = None
    etcd_cert_key: str | None = None
    etcd_timeout_s: float = 5.0
    etcd_refresh_workers_interval: float = 120.0
    virtual_nodes: int = 5
    replicas: int = 1
    page_size: int | None = None
    ufs_root: str | None = None
    target_protocol: str | None = None
    target_options: SecretOptions = field(default_factory=SecretOptions, repr=False)
    fs: Any = field(default=None, repr=False, hash=False)
    fallback: bool = True
    concurrency: int = 64
    window: int = 8
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 30.0
    retry_worker_after_s: float = 5.0
    metadata_ttl_s: float = 60.0
    metadata_cache_size: int = 100_000
    trust_listings: bool = False
    on_miss: str = "read"
    trace: Trace | None = field(default=None, repr=False, compare=False)

    def to_arguments(self) -> dict[str, Any]:
        """Keyword arguments from which `make_settings` makes an equal value, whatever the environment says."""
        arguments = {spec.name: getattr(self, spec.name) for spec in fields(self)}
        endpoints = arguments.pop("etcd_endpoints")
        arguments["etcd_hosts"] = [_join(host, port) for host, port in endpoints] or None
        arguments["worker_hosts"] = [str(address) for address in self.worker_hosts] or None
        arguments["target_options"] = dict(self.target_options) or None
        return arguments


class Option(NamedTuple):
    """One option that users may set.

    Attributes
    ----------
    name
        Argument of `alluxio_arrow.filesystem`, and (in capitals, behind ``ALLUXIO_ARROW_``) the environment variable.
    parse
        Turns an argument or an environment variable's text into the value; raises ValueError with the reason.
    meaning
        What it does, with its unit and range.
    properties
        Alluxio property keys that set it; where there are several, the first one given counts.
    parse_property
        Turns a property's text into what `parse` takes.
    in_environment
        Whether the environment may set it.
    """

    name: str
    parse: Callable[[Any], Any]
    meaning: str
    properties: tuple[str, ...] = ()
    parse_property: Callable[[str], Any] = str
    in_environment: bool = True


def _number(kind: type, low: float, high: float) -> Callable[[Any], Any]:
    def parse(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError(f"must be a number, not {type(value).__name__}")
        try:
            number = kind(value)
        except ValueError:
            raise ValueError(f"must be a number, not {value!r}") from None
        if isinstance(value, float) and number != value:
            raise ValueError(f"must be a whole number, not {value}")
        if not low <= number <= high:
            raise ValueError(f"must be between {low:g} and {high:g}, not {number}")
        return number

    return parse


def _text(value: Any) -> str:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"must be a text that is not empty, not {type(value).__name__}")
    return value


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return parse_bool(value)
    raise ValueError(f"must be true or false, not {type(value).__name__}")


def _size(value: Any) -> int:
    size = parse_size(value) if isinstance(value, str) else value
    return cast("int", _number(int, 1, 1 << 31)(size))


def _mapping(value: Any) -> SecretOptions:
    if not isinstance(value, Mapping):
        raise ValueError(f"must be a dict, not {type(value).__name__}")
    return SecretOptions(value)


def _hosts(value: Any) -> tuple[str, ...]:
    """Host texts out of ``"h1:p1,h2"`` or a list of such."""
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not all(isinstance(item, str) for item in items):
        raise ValueError("must be a text such as 'h1:p1,h2:p2', or a list of hosts")
    return tuple(host for item in items for host in parse_list(item))


def _one_of(*words: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if value not in words:
            raise ValueError(f"must be {' or '.join(map(repr, words))}, not {value!r}")
        return str(value)

    return parse


def _callable(value: Any) -> Any:
    if not callable(value):
        raise ValueError(f"must be callable, not {type(value).__name__}")
    return value


def _anything(value: Any) -> Any:
    return value


_port = _number(int, 1, 65535)
_seconds = _number(float, 0.001, 86_400)

OPTIONS: tuple[Option, ...] = (
    Option(
        "etcd_hosts",
        _hosts,
        "where workers register: `h1:p1,h2:p2`, ports optional, or a list; `http://` is fine, `https://` with `etcd_ca_cert`",
        ("alluxio.etcd.endpoints",),
    ),
    Option("etcd_port", _port, "port of `etcd_hosts` that name none, 1 to 65535 (default 2379)"),
    Option("worker_hosts", _hosts, "the workers themselves instead of ETCD: `h1:p1,h2`, ports optional, or a list"),
    Option(
        "worker_http_port",
        _port,
        "HTTP port of workers that name none, 1 to 65535 (default 28080)",
        ("alluxio.worker.http.server.port",),
    ),
    Option("cluster_name", _text, "part of the ETCD keys (default DefaultAlluxioCluster)", ("alluxio.cluster.name",)),
    Option("etcd_username", _text, "ETCD user; both or none of user and password", ("alluxio.etcd.username",)),
    Option("etcd_password", _text, "ETCD password", ("alluxio.etcd.password",)),
    Option("etcd_ca_cert", _text, "path of the CA certificate with which ETCD is checked; turns TLS on"),
    Option("etcd_cert_cert", _text, "path of the client certificate shown to ETCD; goes with `etcd_cert_key`"),
    Option("etcd_cert_key", _text, "path of that certificate's key"),
    Option("etcd_timeout_s", _seconds, "seconds for one ETCD request (default 5)"),
    Option(
        "etcd_refresh_workers_interval",
        _number(float, -86_400, 86_400),
        "seconds between full listings beside the watch (default 120); 0 or less: none",
        ("alluxio.user.worker.list.refresh.interval",),
        parse_duration_s,
    ),
    Option(
        "virtual_nodes",
        _number(int, 1, 100_000),
        "points of a worker on the ring (default 5); must equal the servers'",
        (_LONG_VNODE_KEY, "alluxio.user.consistent.hash.virtual.node.count.per.worker"),
    ),
    Option(
        "replicas",
        _number(int, 0, 100),
        "workers asked for a page, one after the other (default 1; 0 means 1)",
        ("alluxio.user.file.replication.min",),
    ),
    Option(
        "page_size",
        _size,
        "bytes, or a size such as `1MB`; must equal the workers'. Left out, it is detected",
        ("alluxio.worker.page.store.page.size",),
    ),
    Option("ufs_root", _text, "root of the cluster's under store, e.g. `s3://lake`", ("alluxio.dora.client.ufs.root",)),
    Option(
        "target_protocol", _text, "fsspec protocol of the under store, e.g. `s3`; without one (or `fs`) only the cache is read"
    ),
    Option("target_options", _mapping, "keyword arguments of that fsspec filesystem", in_environment=False),
    Option("fs", _anything, "a ready fsspec or pyarrow filesystem as the under store", in_environment=False),
    Option(
        "fallback",
        _flag,
        "whether the under store is read when the cache cannot serve (default true)",
        ("alluxio.dora.client.ufs.fallback.enabled",),
        parse_bool,
    ),
    Option("concurrency", _number(int, 1, 1024), "connections per worker, 1 to 1024 (default 64)"),
    Option("window", _number(int, 1, 64), "page requests in flight within one read, 1 to 64 (default 8)"),
    Option("connect_timeout_s", _seconds, "seconds for connecting to a worker (default 5)"),
    Option("read_timeout_s", _seconds, "seconds in which an answer must go on arriving (default 30)"),
    Option("retry_worker_after_s", _number(float, 0, 86_400), "seconds for which a worker found down is not asked (default 5)"),
    Option(
        "metadata_ttl_s", _number(float, 0, 86_400), "seconds for which a file's status is believed (default 60); 0: not at all"
    ),
    Option("metadata_cache_size", _number(int, 1, 100_000_000), "statuses kept (default 100000)"),
    Option(
        "trust_listings",
        _flag,
        "believe workers' listings without comparing them with the under store's (default false): faster, maybe days old",
    ),
    Option(
        "on_miss",
        _one_of("read", "load"),
        "what becomes of a file that was not cached: `read` it from the under store (default), or also `load` it by a job",
    ),
    Option("trace", _callable, "called as `trace(event, info)` around each wire step", in_environment=False),
)

_BY_NAME = {option.name: option for option in OPTIONS}
_BY_PROPERTY = {key: option for option in OPTIONS for key in option.properties}

#: Argument names of alluxiofs for options that are called otherwise here.
_ALIASES = {"hash_node_per_worker": "virtual_nodes"}

#: Arguments of alluxiofs that have no counterpart, and why.
_REFUSED = {
    "use_mem_cache": "pages are received straight into Arrow's memory; there is no second cache",
    "mem_map_capacity": "pages are received straight into Arrow's memory; there is no second cache",
    "use_local_disk_cache": "there is no cache on local disk; fsspec's filecache can be put in front",
    "local_disk_cache_dir": "there is no cache on local disk; fsspec's filecache can be put in front",
    "test_options": "it only served alluxiofs's own tests",
    "logger": "log lines go to Python's logging under the name alluxio_arrow",
    "preload_path": "it belongs to the fsspec adapter; use AlluxioClient.load",
}

#: Properties that change nothing here.
_WITHOUT_EFFECT = ("alluxio.common.extension.enable", "alluxio.common.ondemandpool.disable")

_POLICY_KEY = "alluxio.user.worker.selection.policy"
_DYNAMIC_KEY = "alluxio.user.dynamic.consistent.hash.ring.enabled"


def make_settings(etcd_hosts: Any = None, **arguments: Any) -> Settings:
    """Validate a configuration.

    Parameters
    ----------
    etcd_hosts
        As in `OPTIONS`.
    **arguments
        Any option of `OPTIONS` by name, None meaning "not given"; and ``options``: a dict of Alluxio properties, or the path of
        an ``alluxio-site.properties``. The environment (``ALLUXIO_ARROW_<NAME>``) fills in what neither of them gives.

    Raises
    ------
    ConfigError
        Something is unknown, malformed or in conflict; the message names it, and the nearest known name.
    """
    given = {name: value for name, value in {"etcd_hosts": etcd_hosts, **arguments}.items() if value is not None}
    properties = _read_options(given.pop("options", None) or os.environ.get(f"{ENVIRONMENT_PREFIX}OPTIONS"))
    values: dict[str, Any] = {}
    for name, value in given.items():
        option = _known(_ALIASES.get(name, name), given_as=name)
        values[option.name] = _parse(option.parse, value, name)
    for name, (value, key) in properties.items():
        if name in values and values[name] != value:
            raise ConfigError(f"{name} and the property {key} are both given, with different values")
        values[name] = value
    _fill_from_environment(values)
    return _combine(values)


def _known(name: str, *, given_as: str) -> Option:
    option = _BY_NAME.get(name)
    if option is not None:
        return option
    if given_as in _REFUSED:
        raise ConfigError(f"the argument {given_as!r} of alluxiofs is not supported: {_REFUSED[given_as]}")
    raise ConfigError(f"unknown argument {given_as!r}{_nearest(given_as, [*_BY_NAME, 'options'])}")


def _nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def _parse(parse: Callable[[Any], Any], value: Any, name: str) -> Any:
    try:
        return parse(value)
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from None


def _read_options(options: Any) -> dict[str, tuple[Any, str]]:
    """Values by option name, each with the property key it came from."""
    if options is None:
        return {}
    is_file = isinstance(options, (str, os.PathLike))
    if is_file:
        try:
            options = read_site_properties(options)
        except OSError as error:
            raise ConfigError(f"options: the properties file cannot be read: {error}") from error
    if not isinstance(options, Mapping):
        raise ConfigError(f"options must be a dict of Alluxio properties or a path, not {type(options).__name__}")
    known = [*_BY_PROPERTY, *_WITHOUT_EFFECT, _POLICY_KEY, _DYNAMIC_KEY]
    for key in options:
        if key in known:
            continue
        # A cluster's own file is full of keys that concern servers only; there, just a slip of the pen is refused.
        suggestion = _nearest(str(key), known, cutoff=0.95 if is_file else 0.6)
        if not is_file or suggestion:
            raise ConfigError(f"unknown property {key!r}{suggestion}")
    _check_ring_properties({str(key): str(value) for key, value in options.items()})
    values = {}
    for option in OPTIONS:
        for key in option.properties:
            if key in options and option.name not in values:
                text = options[key] if isinstance(options[key], str) else str(options[key])
                value = _parse(lambda text, option=option: option.parse(option.parse_property(text)), text, key)  # type: ignore[misc]
                values[option.name] = (value, key)
    return values


def _check_ring_properties(options: Mapping[str, str]) -> None:
    policy = options.get(_POLICY_KEY, "CONSISTENT")
    if policy.strip().upper() != "CONSISTENT":
        raise ConfigError(f"{_POLICY_KEY}={policy}: only CONSISTENT is supported; load jobs place data by no other policy")
    if not _parse(parse_bool, options.get(_DYNAMIC_KEY, "true"), _DYNAMIC_KEY):
        raise ConfigError(f"{_DYNAMIC_KEY}=false: rings that keep lost workers are not supported; only live workers are used")
    for key in _WITHOUT_EFFECT:
        if key in options:
            logger.info("%s has no effect: there is no extension to switch", key)


def _fill_from_environment(values: dict[str, Any]) -> None:
    sources = {"etcd_hosts", "worker_hosts"}
    has_source = bool(sources & set(values))
    has_store = bool({"fs", "target_protocol"} & set(values))
    for variable, text in os.environ.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or not text:
            continue
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        option = _BY_NAME.get(name)
        if name == "options":
            continue
        if option is None or not option.in_environment:
            # The environment is shared with other programs' typing errors, so this is no reason to fail.
            logger.warning("unknown environment variable %s%s", variable, _nearest(name, _BY_NAME))
        elif name not in values and not (name in sources and has_source) and not (name == "target_protocol" and has_store):
            values[name] = _parse(option.parse, text, variable)


def _combine(values: dict[str, Any]) -> Settings:
    etcd_hosts, worker_hosts = values.pop("etcd_hosts", ()), values.pop("worker_hosts", ())
    if bool(etcd_hosts) == bool(worker_hosts):
        given = "both are given" if etcd_hosts else "none is given"
        raise ConfigError(f"exactly one of etcd_hosts (or alluxio.etcd.endpoints) and worker_hosts is needed; {given}")
    has_tls = "etcd_ca_cert" in values or "etcd_cert_cert" in values
    etcd_port = values.pop("etcd_port", 2379)
    worker_port = values.get("worker_http_port", 28080)
    endpoints = [_split_host(host, etcd_port, "etcd_hosts", has_tls=has_tls) for host in etcd_hosts]
    workers = [WorkerAddress(*_split_host(host, worker_port, "worker_hosts")) for host in worker_hosts]
    for one, other in (("etcd_username", "etcd_password"), ("etcd_cert_cert", "etcd_cert_key")):
        if (one in values) != (other in values):
            raise ConfigError(f"{one} and {other} are needed together")
    if "target_protocol" in values and "fs" in values:
        protocols: Any = getattr(values["fs"], "protocol", None) or getattr(values["fs"], "type_name", "")
        protocols = (protocols,) if isinstance(protocols, str) else tuple(protocols)
        if values["target_protocol"] not in (*protocols, *({"file"} if "local" in protocols else ())):
            raise ConfigError(
                f"target_protocol={values['target_protocol']!r} and fs ({protocols[0]!r}) are different stores: give one"
            )
    if values.get("target_options") and "target_protocol" not in values:
        raise ConfigError("target_options needs target_protocol, which says what they are options of")
    if not values.get("replicas", 1):
        values["replicas"] = 1
    return Settings(etcd_endpoints=tuple(dict.fromkeys(endpoints)), worker_hosts=tuple(dict.fromkeys(workers)), **values)


def _split_host(text: str, default_port: int, name: str, *, has_tls: bool = False) -> tuple[str, int]:
    scheme, separator, rest = text.partition("://")
    if not separator:
        rest = text
    elif scheme == "https" and name == "etcd_hosts":
        if not has_tls:
            raise ConfigError(f"{name}: {text!r} needs etcd_ca_cert, the certificate to check the server with")
    elif scheme != "http":
        raise ConfigError(f"{name}: {text!r} has a scheme other than http, which is all that workers speak")
    rest = rest.rstrip("/")
    host, port = rest, ""
    if rest.startswith("["):
        host, bracket, tail = rest[1:].partition("]")
        port = tail.removeprefix(":")
        if not bracket or (tail and not tail.startswith(":")):
            raise ConfigError(f"{name}: {text!r} is not a host")
    elif rest.count(":") == 1:
        host, _, port = rest.partition(":")
        if not port:
            raise ConfigError(f"{name}: {text!r} has a colon but no port")
    if not host or any(character in host for character in "/@ \t"):
        raise ConfigError(f"{name}: {text!r} is not a host")
    return host, _parse(_port, port, f"{name}: the port of {text!r}") if port else default_port


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
