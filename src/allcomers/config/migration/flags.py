"""The flags of gunicorn and of uvicorn, except those with the same name and meaning here.

gunicorn  https://gunicorn.org/reference/settings/ (27.0.1)
uvicorn   https://uvicorn.dev/settings/ (0.54.0)
"""

from __future__ import annotations

from typing import Final

from allcomers.config.migration import rules
from allcomers.config.migration.rules import Rule

_FIXED = "the limits of HTTP/2 are fixed (docs/http2.md, Limits)"
_NO_LOOSE = "an ambiguous request is refused here, and no option changes that: repair the client"
_NO_STATSD = "there is no statsd client: read the access log (--access-log-format json)"
_NO_SYSLOG = "there is no syslog client: systemd's journal records standard error, or pipe it into logger(1)"
_NO_LOG_CONFIG = "the log is Python's own (`logging`, under the name allcomers): --log-config FILE has its handlers"
_NO_DIRTY = "there are no dirty workers: a task queue does such work"
_NO_CONTROL = "there is no control socket: send signals instead (docs/options.md, Signals)"
_TLS_VERSION = "TLS 1.2 and 1.3 are supported; --tls-min 1.3 refuses the older"

GUNICORN: Final[dict[str, Rule]] = {
    "-c FILE": rules.to("--config"),
    "-k --worker-class NAME": rules.keep,
    "--worker-connections N": rules.to("--max-connections"),
    "--timeout S": rules.to("--hang-timeout"),
    "--limit-request-line BYTES": rules.keep,
    "--limit-request-fields N": rules.to("--max-headers"),
    "--limit-request-field_size BYTES": rules.keep,
    "--reload-engine NAME": rules.no_need("--reload uses watchfiles"),
    "--reload-extra-file FILE": rules.to("--reload-include"),
    "--spew": rules.instead("run the app under `python -m trace` instead"),
    "--no-sendfile": rules.no_need("files are sent by sendfile(2), and no option changes that"),
    "--reuse-port": rules.no_need("the workers share the sockets that the supervisor has opened"),
    "-D --daemon": rules.instead(
        "a server stays in the foreground: let systemd start it (docs/running.md), or a shell's `&`"
    ),
    "-e --env NAME=VALUE": rules.environment,
    "-p FILE": rules.to("--pid"),
    "--worker-tmp-dir DIR": rules.no_need("workers report without a file that they are alive"),
    "-u NAME": rules.to("--user"),
    "-g NAME": rules.to("--group"),
    "--initgroups": rules.no_need("--user sets the user's groups, too"),
    "--access-logfile FILE": rules.to("--access-log"),
    "--disable-redirect-access-to-syslog": rules.no_need("there is no syslog client"),
    "--access-logformat FORMAT": rules.to("--access-log-format"),
    "--error-logfile --log-file FILE": rules.error_log,
    "--capture-output": rules.no_need("the app's output goes to standard output and error unchanged"),
    "--logger-class NAME": rules.only("gunicorn.glogging.Logger", _NO_LOG_CONFIG),
    "--log-config-json FILE": rules.to("--log-config"),
    "--log-syslog-to ADDR": rules.instead(_NO_SYSLOG),
    "--log-syslog": rules.instead(_NO_SYSLOG),
    "--log-syslog-prefix NAME": rules.instead(_NO_SYSLOG),
    "--log-syslog-facility NAME": rules.instead(_NO_SYSLOG),
    "-R --enable-stdio-inheritance": rules.no_need("standard output and error stay as they are"),
    "--statsd-host ADDR": rules.instead(_NO_STATSD),
    "--dogstatsd-tags TAGS": rules.instead(_NO_STATSD),
    "--statsd-prefix NAME": rules.instead(_NO_STATSD),
    "--enable-backlog-metric": rules.instead(_NO_STATSD),
    "-n --name NAME": rules.no_need("processes are named allcomers, and keep their command line"),
    "--pythonpath DIRS": rules.python_path,
    "--paste --paster FILE": rules.instead(
        "write a module that has app = paste.deploy.loadapp('config:FILE'), and run that"
    ),
    "--paste-global NAME=VALUE": rules.instead(
        "pass it to paste.deploy.loadapp as global_conf, in a module of your own"
    ),
    "--proxy-allow-from LIST": rules.only("*", "every peer that can connect is trusted: let only the proxy connect"),
    "--protocol NAME": rules.only("http", "only HTTP is supported: let the proxy use it (nginx: proxy_pass)"),
    "--uwsgi-allow-from LIST": rules.no_need("uwsgi's protocol is not supported"),
    "--ssl-version N": rules.no_need(_TLS_VERSION),
    "--cert-reqs N": rules.keep,
    "--suppress-ragged-eofs": rules.no_need("a connection that ends without close_notify is no error"),
    "--do-handshake-on-connect": rules.no_need("a handshake makes no other client wait"),
    "--http-protocols LIST": rules.http_protocols,
    "--http2-cleartext HOW": rules.no_need("HTTP/2 without TLS is understood from clients with prior knowledge"),
    "--http2-max-concurrent-streams N": rules.instead(_FIXED),
    "--http2-initial-window-size N": rules.instead(_FIXED),
    "--http2-max-frame-size N": rules.instead(_FIXED),
    "--http2-max-header-list-size N": rules.instead(_FIXED),
    "--permit-obsolete-folding": rules.instead(_NO_LOOSE),
    "--strip-header-spaces": rules.instead(_NO_LOOSE),
    "--permit-unconventional-http-method": rules.no_need("any token is a method (RFC 9110, 9.1)"),
    "--permit-unconventional-http-version": rules.instead(_NO_LOOSE),
    "--casefold-http-method": rules.instead(_NO_LOOSE),
    "--forwarder-headers LIST": rules.instead("no request may set SCRIPT_NAME: --root-path does"),
    "--header-map HOW": rules.only(
        "drop", "a header whose name has an underscore is dropped, and no option changes that"
    ),
    "--asgi-loop NAME": rules.no_need("the asyncio model runs on uvloop where that is installed"),
    "--asgi-lifespan HOW": rules.to("--lifespan"),
    "--asgi-disconnect-grace-period S": rules.disconnect_grace,
    "--websocket-max-message-size BYTES": rules.to("--ws-max-size"),
    "--http-parser NAME": rules.no_need("there is one parser"),
    "--dirty-app NAME": rules.instead(_NO_DIRTY),
    "--dirty-workers N": rules.instead(_NO_DIRTY),
    "--dirty-timeout S": rules.instead(_NO_DIRTY),
    "--dirty-threads N": rules.instead(_NO_DIRTY),
    "--dirty-graceful-timeout S": rules.instead(_NO_DIRTY),
    "--control-socket PATH": rules.instead(_NO_CONTROL),
    "--control-socket-mode MODE": rules.instead(_NO_CONTROL),
    "--no-control-socket": rules.no_need("there is none"),
}
"""{a flag, its other name, and a word for its value: the rule for it}."""

UVICORN: Final[dict[str, Rule]] = {
    "--host HOST": rules.keep,
    "--port PORT": rules.keep,
    "--uds PATH": rules.keep,
    "--fd N": rules.keep,
    "--reload-delay S": rules.no_need("the kernel reports changes to --reload"),
    "--loop NAME": rules.no_need("the asyncio model runs on uvloop where that is installed"),
    "--http NAME": rules.http_parser,
    "--http2": rules.no_need("HTTP/2 is spoken by default"),
    "--ws NAME": rules.no_need("there is one WebSocket library"),
    "--ws-max-queue N": rules.no_need("a message is read only when the app receives it"),
    "--ws-per-message-deflate BOOL": rules.deflate,
    "--env-file FILE": rules.env_file,
    "--no-access-log": rules.to("--access-log", "off"),
    "--use-colors": rules.colours("FORCE_COLOR"),
    "--no-use-colors": rules.colours("NO_COLOR"),
    "--proxy-headers": rules.proxy_headers,
    "--no-proxy-headers": rules.no_proxy_headers,
    "--limit-concurrency N": rules.to("--max-connections"),
    "--limit-max-requests N": rules.to("--max-requests"),
    "--limit-max-requests-jitter N": rules.to("--max-requests-jitter"),
    "--timeout-keep-alive S": rules.keep_alive,
    "--timeout-graceful-shutdown S": rules.to("--graceful-timeout"),
    "--timeout-worker-healthcheck S": rules.no_need("--hang-timeout finds a worker that hangs"),
    "--ssl-keyfile FILE": rules.to("--keyfile"),
    "--ssl-certfile FILE": rules.to("--certfile"),
    "--ssl-keyfile-password TEXT": rules.instead(
        "a command line shows it to all: write it into a file, for --keyfile-password-file"
    ),
    "--ssl-version N": rules.no_need(_TLS_VERSION),
    "--ssl-cert-reqs N": rules.keep,
    "--ssl-ca-certs FILE": rules.keep,
    "--ssl-ciphers LIST": rules.to("--ciphers"),
    "--app-dir DIR": rules.python_path,
    "--h11-max-incomplete-event-size BYTES": rules.keep,
    "--reset-contextvars": rules.no_need("each request has a context of its own"),
}


def _flags(table: dict[str, Rule]) -> dict[str, tuple[bool, Rule]]:
    """Return {flag: (whether it takes a value, its rule)}."""
    flags: dict[str, tuple[bool, Rule]] = {}
    for key, rule in table.items():
        words = key.split()
        names = [word for word in words if word.startswith("-")]
        flags |= dict.fromkeys(names, (len(names) < len(words), rule))
    return flags


RULES: Final[dict[str, tuple[bool, Rule]]] = _flags(UVICORN) | _flags(GUNICORN)
GUNICORN_ONLY: Final = _flags(GUNICORN).keys() - _flags(UVICORN).keys()
