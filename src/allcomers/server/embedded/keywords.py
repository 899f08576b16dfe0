"""The keyword arguments of Server and run(). Made by tools/options-doc from the table of options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypedDict


class ServerOptions(TypedDict, total=False):
    """The options of the command line, by name: sizes are bytes or text ("64M"), times are seconds."""

    interface: str
    """The app's interface: auto, wsgi, asgi, asgi2, web or service; by default auto."""
    factory: bool
    """Call TARGET, without arguments, to get the app."""
    static: str | Sequence[str]
    """Serve the files of DIR below PATH, before the app: /static=public; repeatable."""
    root_path: str
    """Path at which a proxy mounts the app (SCRIPT_NAME, root_path)."""
    lifespan: str
    """ASGI's lifespan protocol: auto, on or off; by default auto."""
    asgi_pathsend: bool
    """Offer ASGI apps the extensions by which the server sends files."""
    bind: str | Sequence[str]
    """Listen on HOST:PORT ([::] is IPv6 alone), unix:PATH or fd://N; repeatable; by default 127.0.0.1:8000."""
    bind_plain: str | Sequence[str]
    """Beside TLS, serve without it on this address, too; repeatable."""
    redirect_https: str | Sequence[str]
    """On this address, send each HTTP request to HTTPS (308); repeatable."""
    listen_when: str
    """Listen once the first worker is `ready`, or at the `start`; by default ready."""
    uds_mode: str
    """Permissions of unix:PATH and of its --admin, in octal: 660."""
    uds_owner: str
    """Owner of unix:PATH and of its --admin; :GROUP for a group alone."""
    model: str
    """Concurrency model, one of those that `allcomers models` lists."""
    workers: int | str
    """Worker processes; `auto`: one for each core; `1-8`: by the load; by default 1."""
    calls: str
    """Where app calls run: inline, pool or auto."""
    threads: int
    """Threads of the pool, and of the model thread-pool; by default 32."""
    http: str
    """Versions of HTTP: auto, 1.1 (and 1.0) or 2 alone; by default auto."""
    compress: bool
    """Compress text from 1 KB on: zstd, gzip or br, whichever the client accepts."""
    compress_secrets: bool
    """Compress over TLS what may have secrets, too (docs/security.md)."""
    gather: bool
    """Send together what an app gives without waiting; --no-gather: each piece by itself; by default on."""
    server_header: bool
    """Send the header Server; --no-server-header omits it; by default on."""
    date_header: bool
    """Send the header Date; --no-date-header omits it, for a proxy that sends its own; by default on."""
    header: str | Sequence[str]
    """Add this header to each response, errors too; repeatable."""
    certfile: str | Sequence[str]
    """Serve TLS with this PEM certificate chain; repeatable (SNI)."""
    keyfile: str | Sequence[str]
    """Private key, if in a file of its own; one for each --certfile."""
    keyfile_password_file: str
    """Password of encrypted keys, in the first line of FILE."""
    ca_certs: str
    """Require client certificates that these authorities signed."""
    client_cert: str
    """With --ca-certs, a client's certificate is required or optional."""
    tls_min: str
    """Oldest version of TLS: 1.2 or 1.3; by default 1.2."""
    ciphers: str | Sequence[str]
    """Suites of TLS 1.2, as `openssl ciphers` takes them."""
    tls_self_signed: bool
    """Serve TLS with a certificate made here, for localhost alone."""
    access_log: str
    """Log each response to FILE; - is standard output, off is none."""
    access_log_format: str
    """Combined, common, json, short, or fields such as `%(h)s %(r)s`."""
    server_timing: bool
    """Send the header Server-Timing: the time of each phase."""
    log_level: str
    """Log from this level: debug, info, warning, error or critical; by default info."""
    log_format: str
    """The form of the server's own log: text, or json, an object in each line; by default text."""
    log_config: str
    """Configure logging by FILE: a dictConfig in .toml, .json or .yaml, or an INI file."""
    head_timeout: float
    """Time to receive a request's head, from accept on; by default 10."""
    keep_alive: float
    """Time until an idle connection is closed; by default 75."""
    graceful_timeout: float
    """Time to finish requests in progress when the server stops; by default 30."""
    call_timeout: float
    """Time limit of an app call; then its stack is logged, and 503 sent."""
    request_timeout: float
    """Time limit of a request, from its first byte to its response's last: 408, 503, or the response is cut off."""
    disconnect_grace: float
    """Time until an ASGI call whose client has left is cancelled; 0 is never; by default 10."""
    hang_timeout: float
    """Time until a worker that gives no sign of life is replaced; 0 is never; by default 60."""
    drain_delay: float
    """Time to go on accepting after TERM, with Connection: close."""
    min_rate: float
    """Least rate of a body and of a response, checked after 5 s; 0 is none; by default 240."""
    max_head_size: int | str
    """Largest head of a request; above: 431 or 414; by default 32K."""
    max_headers: int
    """Most header lines of a request; above: 431; by default 100."""
    max_body: int | str
    """Largest body of a request; above: 413; by default 64M."""
    max_memory_held: int | str
    """Most memory held for all peers of all workers: bodies, unread responses."""
    max_spool: int | str
    """Most bytes in temporary files of all workers; above: 503."""
    max_connections: int
    """Most connections of a worker; others wait in the backlog."""
    max_connections_per_client: int
    """Most connections of one address, or of one IPv6 /64; above: 503."""
    max_requests_per_connection: int
    """Close a connection with its Nth response."""
    descriptors: int | str
    """Most open files and sockets of a worker; `max` is the hard limit, root may go above."""
    max_form_size: int | str
    """Largest form that request.form reads, its files apart; above: 413; by default 1M."""
    max_form_fields: int
    """Most fields of a form (above: 413) or a query (above: 400); by default 1000."""
    max_form_parts: int
    """Most fields and files of a form with files (multipart/form-data); above: 413; by default 1000."""
    max_file_size: int | str
    """Largest file of a form; above: 413."""
    max_json_size: int | str
    """Largest body that request.json() reads; above: 413; by default 10M."""
    backlog: int
    """Most connections that wait in the kernel to be accepted; by default 2048."""
    overload: str
    """Auto: refuse requests that would wait too long, with 503; off: let them wait; by default auto."""
    overload_target: float
    """Time that requests may wait for their calls; twice that under overload; by default 0.05."""
    max_requests: int
    """Replace a worker after N requests."""
    max_requests_jitter: int
    """Add up to N, at random, so that workers are replaced one by one."""
    max_memory: int | str
    """Replace a worker whose resident memory is above SIZE."""
    workers_lifetime: float
    """Replace a worker after S seconds, and up to a tenth more; 0 is never."""
    forwarded_allow_ips: str | Sequence[str]
    """Trust X-Forwarded-* from these proxies: addresses, networks, unix, *."""
    proxy_protocol: bool
    """Require a PROXY protocol header, v1 or v2, on each connection."""
    ws_max_size: int | str
    """Largest WebSocket message; above: closed with 1009; by default 16M."""
    ws_ping_interval: float
    """Time between pings of an idle WebSocket; 0 is never; by default 20."""
    ws_ping_timeout: float
    """Time for the pong; then the WebSocket is closed; by default 20."""
    ws_deflate: str
    """Permessage-deflate, if the client offers it: on or off; by default on."""
    admin: str
    """Serve live figures, /metrics and /health on HOST:PORT or unix:PATH."""
    admin_hosts: str | Sequence[str]
    """Host names of --admin; ip: addresses only, *: any; required if others can connect."""
    by_route: bool
    """Count requests by route, too: the template of the app's framework; shown by --admin."""
    profile: bool
    """Show stacks of all threads, and flame graphs, at --admin; loopback addresses only."""
    reload: bool
    """Replace workers when app files change (needs allcomers[reload])."""
    reload_dir: str | Sequence[str]
    """Watch this folder; repeatable."""
    reload_include: str | Sequence[str]
    """Watch these files, too: `*.html`, a folder, or a file elsewhere; repeatable."""
    reload_exclude: str | Sequence[str]
    """Do not watch these files, nor these folders: `generated`; repeatable."""
    debug: bool
    """Show tracebacks of failed calls to browsers of this machine; loopback addresses only."""
    preload: bool
    """Load the app once, in the supervisor: workers share its memory; HUP does not renew it."""
    pid: str
    """Write the supervisor's process id to FILE."""
    user: str
    """Run the workers as this user, once the sockets are open."""
    group: str
    """Run the workers as this group."""
    umask: str
    """Mask of the permissions of new files, in octal: 027."""
    chdir: str
    """Enter DIR before the app is loaded."""
    on_start: str | Callable[[Any], object]
    """Call FUNCTION(server) in the supervisor, before anything is open."""
    on_worker_start: str | Callable[[Any], object]
    """Call FUNCTION(worker) in each worker, before it loads the app."""
    on_worker_stop: str | Callable[[Any], object]
    """Call FUNCTION(worker) in each worker, after its last response."""
    on_reload: str | Callable[[Any], object]
    """Call FUNCTION(server) in the supervisor when it reloads (HUP)."""
    on_stop: str | Callable[[Any], object]
    """Call FUNCTION(server) in the supervisor, once all workers have ended."""
