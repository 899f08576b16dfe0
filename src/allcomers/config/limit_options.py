"""Options that bound what peers may do and what the app may take."""

from __future__ import annotations

from allcomers.config.checks import choice, descriptor_count, integer, never_or_seconds, rate, seconds, size
from allcomers.config.option import Options, option


class TimeOptions(Options, group="times (seconds) and rates"):
    """Deadlines, and the least rates."""

    head_timeout: float = option(
        10.0, "--head-timeout", "S", "time to receive a request's head, from accept on",
        "Ends Slowloris; a bad mobile line still gets its 1 KB through. Apache gives 20 to 40, nginx 60.", seconds,
    )  # fmt: skip
    keep_alive: float = option(
        75.0, "--keep-alive", "S", "time until an idle connection is closed",
        "nginx's keepalive_timeout; above the 60 of most load balancers, which must close first.", seconds,
    )  # fmt: skip
    graceful_timeout: float = option(
        30.0, "--graceful-timeout", "S", "time to finish requests in progress when the server stops",
        "gunicorn's graceful_timeout; orchestrators wait as long before they kill.", seconds,
    )  # fmt: skip
    call_timeout: float = option(
        0.0, "--call-timeout", "S",
        "time limit of an app call; then its stack is logged, and 503 sent",
        "Only the app's owner knows how long is too long.", seconds,
    )  # fmt: skip
    request_timeout: float = option(
        0.0, "--request-timeout", "S",
        "time limit of a request, from its first byte to its response's last: 408, 503, or the response is cut off",
        "Slow downloads and streams are right for some; --min-rate ends those that stand still. uWSGI's http-timeout.",
        seconds,
    )  # fmt: skip
    disconnect_grace: float = option(
        10.0, "--disconnect-grace", "S",
        "time until an ASGI call whose client has left is cancelled; 0 is never",
        "Most calls end by themselves by then. Daphne's; gunicorn's asgi worker gives 3.", never_or_seconds,
    )  # fmt: skip
    hang_timeout: float = option(
        60.0, "--hang-timeout", "S", "time until a worker that gives no sign of life is replaced; 0 is never",
        "Above any response time that a client still accepts; gunicorn's --timeout is 30.", never_or_seconds,
    )  # fmt: skip
    drain_delay: float = option(
        0.0, "--drain-delay", "S", "time to go on accepting after TERM, with Connection: close",
        "A load balancer must first notice that the server leaves; its owner knows how soon it does.", never_or_seconds,
    )  # fmt: skip
    min_rate: float = option(
        240.0, "--min-rate", "BYTES/S", "least rate of a body and of a response, checked after 5 s; 0 is none",
        "Kestrel's MinRequestBodyDataRate, and its grace period of 5 seconds.", rate,
    )  # fmt: skip


class LimitOptions(Options, group="limits"):
    """The most of everything."""

    max_head_size: int = option(
        32 * 1024, "--max-head-size", "SIZE", "largest head of a request; above: 431 or 414",
        "nginx has 4 buffers of 8 KB.", size,
    )  # fmt: skip
    max_headers: int = option(
        100, "--max-headers", "N", "most header lines of a request; above: 431",
        "Apache's LimitRequestFields; gunicorn's too.", integer(1, 10_000),
    )  # fmt: skip
    max_body: int = option(
        64 << 20, "--max-body", "SIZE", "largest body of a request; above: 413",
        "Bodies above 512 KiB are kept in a temporary file; a disk is finite.", size,
    )  # fmt: skip
    max_memory_held: int = option(
        0, "--max-memory-held", "SIZE", "most memory held for all peers of all workers: bodies, unread responses",
        "An eighth of the memory that the cgroup, or the machine, has: the app needs the rest.", size,
    )  # fmt: skip
    max_spool: int = option(
        0, "--max-spool", "SIZE", "most bytes in temporary files of all workers; above: 503",
        "4 GiB, and at most half of what is free in the folder when a worker starts.", size,
    )  # fmt: skip
    max_connections: int = option(
        0, "--max-connections", "N", "most connections of a worker; others wait in the backlog",
        "None for pollers, 1000 for thread, 256 for process (Apache's prefork).", integer(1),
    )  # fmt: skip
    max_connections_per_client: int = option(
        0, "--max-connections-per-client", "N", "most connections of one address, or of one IPv6 /64; above: 503",
        "Behind a proxy that adds no PROXY header, all clients have its address. nginx's limit_conn.", integer(1),
    )  # fmt: skip
    max_requests_per_connection: int = option(
        0, "--max-requests-per-connection", "N", "close a connection with its Nth response",
        "A connection costs more to open than to keep. nginx's keepalive_requests is 1000.", integer(1),
    )  # fmt: skip
    descriptors: int = option(
        0, "--descriptors", "N", "most open files and sockets of a worker; `max` is the hard limit, root may go above",
        "The limit that the server was started with (ulimit -n). nginx's worker_rlimit_nofile.", descriptor_count,
    )  # fmt: skip
    max_form_size: int = option(
        1 << 20, "--max-form-size", "SIZE", "largest form that request.form reads, its files apart; above: 413",
        "Parsed, a form takes up to thirty times its size. Django's DATA_UPLOAD_MAX_MEMORY_SIZE is 2.5M.", size,
    )  # fmt: skip
    max_form_fields: int = option(
        1000, "--max-form-fields", "N", "most fields of a form (above: 413) or a query (above: 400)",
        "Django's DATA_UPLOAD_MAX_NUMBER_FIELDS.", integer(1),
    )  # fmt: skip
    max_form_parts: int = option(
        1000, "--max-form-parts", "N", "most fields and files of a form with files (multipart/form-data); above: 413",
        "Werkzeug's max_form_parts.", integer(1),
    )  # fmt: skip
    max_file_size: int = option(
        0, "--max-file-size", "SIZE", "largest file of a form; above: 413",
        "As much as --max-body lets through.", size,
    )  # fmt: skip
    max_json_size: int = option(
        10 << 20, "--max-json-size", "SIZE", "largest body that request.json() reads; above: 413",
        "Parsed, JSON takes many times its size, and its call holds the interpreter meanwhile.", size,
    )  # fmt: skip
    backlog: int = option(
        2048, "--backlog", "N", "most connections that wait in the kernel to be accepted",
        "gunicorn's; Linux reduces it to somaxconn.", integer(1),
    )  # fmt: skip
    overload: str = option(
        "auto", "--overload", "HOW", "auto: refuse requests that would wait too long, with 503; off: let them wait",
        "A server that answers all too late serves nobody; one that is not overloaded refuses none.",
        choice("auto", "off"),
    )  # fmt: skip
    overload_target: float = option(
        0.05, "--overload-target", "S", "time that requests may wait for their calls; twice that under overload",
        "Below what people notice, 0.1 s; longer than calls that compute, and the pauses of a busy machine.", seconds,
    )  # fmt: skip
    max_requests: int = option(
        0, "--max-requests", "N", "replace a worker after N requests",
        "A leak is better repaired; this contains one in code that is not yours.", integer(0),
    )  # fmt: skip
    max_requests_jitter: int = option(
        0, "--max-requests-jitter", "N", "add up to N, at random, so that workers are replaced one by one",
        "None is added. With several workers, a tenth of --max-requests is enough.", integer(0),
    )  # fmt: skip
    max_memory: int = option(
        0, "--max-memory", "SIZE", "replace a worker whose resident memory is above SIZE",
        "As for --max-requests.", size,
    )  # fmt: skip
    workers_lifetime: float = option(
        0.0, "--workers-lifetime", "S", "replace a worker after S seconds, and up to a tenth more; 0 is never",
        "As for --max-requests.", never_or_seconds,
    )  # fmt: skip


class WebSocketOptions(Options, group="WebSockets"):
    """The limits of a WebSocket."""

    ws_max_size: int = option(
        16 << 20, "--ws-max-size", "SIZE", "largest WebSocket message; above: closed with 1009",
        "uvicorn's.", size,
    )  # fmt: skip
    ws_ping_interval: float = option(
        20.0, "--ws-ping-interval", "S", "time between pings of an idle WebSocket; 0 is never",
        "uvicorn's; below the idle times of load balancers.", never_or_seconds,
    )  # fmt: skip
    ws_ping_timeout: float = option(
        20.0, "--ws-ping-timeout", "S", "time for the pong; then the WebSocket is closed",
        "uvicorn's.", seconds,
    )  # fmt: skip
    ws_deflate: str = option(
        "on", "--ws-deflate", "HOW", "permessage-deflate, if the client offers it: on or off",
        "Text shrinks; no memory is kept for it between two messages.", choice("on", "off"),
    )  # fmt: skip
