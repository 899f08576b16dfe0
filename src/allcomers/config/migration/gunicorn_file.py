"""gunicorn.conf.py: run as gunicorn runs it, and its settings as the flags of gunicorn's command line."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from allcomers.config import trusted_files
from allcomers.errors import ConfigError

DEFAULT: Final = "gunicorn.conf.py"

_FLAGS: Final = {
    "bind": "--bind", "backlog": "--backlog", "workers": "--workers", "worker_class": "--worker-class",
    "threads": "--threads", "worker_connections": "--worker-connections", "max_requests": "--max-requests",
    "max_requests_jitter": "--max-requests-jitter", "timeout": "--timeout", "graceful_timeout": "--graceful-timeout",
    "keepalive": "--keep-alive", "limit_request_line": "--limit-request-line",
    "limit_request_fields": "--limit-request-fields", "limit_request_field_size": "--limit-request-field_size",
    "reload": "--reload", "reload_engine": "--reload-engine", "reload_extra_files": "--reload-extra-file",
    "spew": "--spew", "preload_app": "--preload", "reuse_port": "--reuse-port", "chdir": "--chdir",
    "daemon": "--daemon", "raw_env": "--env", "pidfile": "-p", "worker_tmp_dir": "--worker-tmp-dir", "user": "--user",
    "group": "--group", "umask": "-m", "initgroups": "--initgroups", "forwarded_allow_ips": "--forwarded-allow-ips",
    "accesslog": "--access-logfile", "access_log_format": "--access-logformat", "errorlog": "--error-logfile",
    "loglevel": "--log-level", "capture_output": "--capture-output", "logger_class": "--logger-class",
    "logconfig": "--log-config", "logconfig_json": "--log-config-json", "syslog": "--log-syslog",
    "syslog_addr": "--log-syslog-to", "syslog_prefix": "--log-syslog-prefix",
    "syslog_facility": "--log-syslog-facility", "enable_stdio_inheritance": "--enable-stdio-inheritance",
    "statsd_host": "--statsd-host", "statsd_prefix": "--statsd-prefix", "dogstatsd_tags": "--dogstatsd-tags",
    "proc_name": "--name", "pythonpath": "--pythonpath", "paste": "--paste", "raw_paste_global_conf": "--paste-global",
    "proxy_protocol": "--proxy-protocol", "proxy_allow_ips": "--proxy-allow-from", "certfile": "--certfile",
    "keyfile": "--keyfile", "ca_certs": "--ca-certs", "cert_reqs": "--cert-reqs", "ssl_version": "--ssl-version",
    "ciphers": "--ciphers", "suppress_ragged_eofs": "--suppress-ragged-eofs",
    "do_handshake_on_connect": "--do-handshake-on-connect", "strip_header_spaces": "--strip-header-spaces",
    "permit_obsolete_folding": "--permit-obsolete-folding", "casefold_http_method": "--casefold-http-method",
    "permit_unconventional_http_method": "--permit-unconventional-http-method",
    "permit_unconventional_http_version": "--permit-unconventional-http-version",
    "forwarder_headers": "--forwarder-headers", "header_map": "--header-map", "asgi_loop": "--asgi-loop",
    "asgi_lifespan": "--asgi-lifespan", "root_path": "--root-path",
}  # fmt: skip
"""{a setting: its flag}. The order is that in which they are reported."""

_NO_FLAG: Final = ("logconfig_dict", "secure_scheme_headers", "ssl_context", "tmp_upload_dir")

HOOKS: Final = (
    "on_starting", "on_reload", "when_ready", "pre_fork", "post_fork", "post_worker_init", "child_exit", "worker_exit",
    "nworkers_changed", "pre_exec", "on_exit",
)  # fmt: skip
"""The hooks that are called."""

_OTHER_HOOKS: Final = ("pre_request", "post_request", "worker_int", "worker_abort")

_REPEATED: Final = ("bind", "raw_env", "reload_extra_files", "raw_paste_global_conf")


@dataclass(frozen=True)
class GunicornFile:
    """A file of settings, as it has been run.

    settings  those of gunicorn's that it sets, by name
    words     {a setting: the words that it would be on gunicorn's command line}
    hooks     the functions that are called
    left_out  what it sets and nothing here has a use for
    """

    name: str
    settings: Mapping[str, Any]
    words: Mapping[str, list[str]]
    hooks: Mapping[str, Callable[..., object]]
    left_out: list[str]

    @property
    def target(self) -> str:
        return str(self.settings.get("wsgi_app") or "")


def read(name: str) -> GunicornFile:
    """Run the file `name`, or import the module of "python:NAME". Raises ConfigError."""
    found = _run(name)
    known = (*_FLAGS, *_NO_FLAG, *HOOKS, *_OTHER_HOOKS, "wsgi_app")
    settings = {key: found[key] for key in known if found.get(key) is not None}
    return GunicornFile(
        name=name,
        settings=settings,
        words={key: _words(key, flag, settings[key]) for key, flag in _FLAGS.items() if key in settings},
        hooks={key: settings[key] for key in HOOKS if callable(settings.get(key))},
        left_out=[key for key in (*_NO_FLAG, *_OTHER_HOOKS) if key in settings],
    )


def _run(name: str) -> dict[str, Any]:
    if (here := os.getcwd()) not in sys.path:  # noqa: PTH109
        sys.path.insert(0, here)
    module = name.removeprefix("python:")
    try:
        if module != name:
            return vars(importlib.import_module(module))
        path = name.removeprefix("file:")
        code = compile(trusted_files.read(path), path, "exec")
    except (OSError, ValueError, ImportError, SyntaxError) as error:
        raise ConfigError(f"cannot read {name!r}: {getattr(error, 'strerror', None) or error}") from None
    namespace: dict[str, Any] = {"__name__": "__config__", "__file__": path, "__doc__": None, "__package__": None}
    try:
        exec(code, namespace)
    except Exception as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
        line = frames[-1].lineno if frames else 0
        raise ConfigError(f"{name}, line {line}: {type(error).__name__}: {error}") from None
    return namespace


def _words(setting: str, flag: str, value: Any) -> list[str]:
    """Return a setting's value as words of gunicorn's command line; none for a switch that is off."""
    if isinstance(value, bool):
        return [flag] if value else []
    if setting == "umask":
        return [f"{flag}=0{value:o}" if isinstance(value, int) else f"{flag}={value}"]
    if isinstance(value, type):  # a worker's or a logger's class
        return [f"{flag}={value.__module__}.{value.__qualname__}"]
    if isinstance(value, list | tuple):
        items = [str(item) for item in value]
        return [f"{flag}={item}" for item in items] if setting in _REPEATED else [f"{flag}={','.join(items)}"]
    if setting == "bind":
        return [f"{flag}={item.strip()}" for item in str(value).split(",")]
    return [f"{flag}={value}"]
