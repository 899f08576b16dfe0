"""Rules about the path from clients to the app: proxies, orchestrators, the model, the app's own calls.

The idle times of load balancers, by their vendors' documentation (2026-11):

    nginx               60    keepalive_timeout of an upstream (ngx_http_upstream_module)
    AWS ALB and ELB     60    idle_timeout.timeout_seconds (Application Load Balancers, "Connection idle timeout")
    Heroku              90    Router 2.0 (devcenter.heroku.com/articles/http-routing, "Keepalives")
    Traefik             90    forwardingTimeouts.idleConnTimeout (ServersTransport)
    Caddy              120    keepalive of reverse_proxy's http transport
    Google Cloud       600    backend HTTP keepalive timeout of an Application Load Balancer; fixed
    Envoy, Istio      3600    idle_timeout of common_http_protocol_options, for upstream clusters

HAProxy has no such figure: the time that it keeps an idle connection to a server depends on `timeout client`,
`pool-purge-delay` and the load.
"""

from __future__ import annotations

from typing import Final

from allcomers.commands.doctor import plan
from allcomers.commands.doctor.facts import DRIVERS, Address, Facts, Finding, Weight, many
from allcomers.config.options import Config

_IDLE: Final = {
    "nginx": 60,
    "AWS load balancers": 60,
    "Heroku": 90,
    "Traefik": 90,
    "Caddy": 120,
    "Google Cloud's load balancers": 600,
    "Envoy": 3600,
}
"""Seconds for which proxies keep an idle connection to a server open, by default."""

_PROXY_OF: Final = {"heroku": "Heroku", "google": "Google Cloud's load balancers", "ecs": "AWS load balancers"}
"""{a place: the proxies there}."""

_KILLED_AFTER: Final = (
    ("heroku", "Heroku", 30, ""),
    ("kubernetes", "Kubernetes", 30, "terminationGracePeriodSeconds: {}"),
    ("ecs", "ECS", 30, "stopTimeout: {}"),
    ("container", "`docker stop`", 10, "docker stop --time {} (run --stop-timeout {}; Compose: stop_grace_period)"),
    ("systemd", "systemd", 90, "TimeoutStopSec={}"),
)
"""(place, the killer, default seconds from TERM to KILL, the setting for that), the most specific first."""

_BUSIEST: Final = {"thread": 47, "thread-pool": 32, "asyncio": 42}
_BUSIEST_WITH_EPOLL: Final = 21
"""Measured by `python -m bench shares`; 16 is even."""

_CONNECTIONS: Final = {"PostgreSQL": 100, "MySQL": 151}
"""The default max_connections."""


def keep_alive(facts: Facts, config: Config) -> Finding | None:
    """Find a keep-alive time below a proxy's: a request may be on its way when the server closes the connection."""
    local = [_PROXY_OF[place] for place in _PROXY_OF if place in facts.places]
    sure = [name for name, idle in _IDLE.items() if config.keep_alive <= idle and (idle <= 60 or name in local)]
    behind = bool(config.forwarded_allow_ips or config.proxy_protocol or "kubernetes" in facts.places)
    longer = [name for name, idle in _IDLE.items() if config.keep_alive <= idle] if behind else []
    if facts.kind == "service" or not (sure or longer):
        return None
    names = sure or longer
    enough = [f"--keep-alive {_IDLE[name] + max(5, _IDLE[name] // 30)}" for name in names]
    return Finding(
        Weight.HURTS if sure else Weight.KNOW,
        f"--keep-alive {config.keep_alive:g}, and idle connections to a server are kept by "
        + ", ".join(f"{name} for {_IDLE[name]} s" for name in names),
        "behind such a proxy, a request may be sent just as the server closes: the client sees a 502",
        enough[-1] if sure else f"more than the time of your proxy: {', '.join(dict.fromkeys(enough))}",
    )


def fairness(facts: Facts, config: Config) -> Finding | None:
    """Find a model under which workers do not share the clients evenly."""
    which = plan.model(facts, config)
    if config.workers == 1 or which not in _BUSIEST or facts.kind == "asgi":  # which has no alternative
        return None
    return Finding(
        Weight.KNOW,
        f"{many(config.workers, 'worker')} with -m {which}",
        f"the quickest accepts each client: of 64 connections, the busiest of 4 workers had up to {_BUSIEST[which]};"
        f" with epoll, {_BUSIEST_WITH_EPOLL}",
        "-m epoll; for calls that wait, with --calls pool",
    )


def one_at_a_time(facts: Facts, config: Config) -> Finding | None:
    """Find the iterative model."""
    if plan.model(facts, config) != "iterative":
        return None
    return Finding(
        Weight.HURTS,
        "-m iterative",
        f"{many(config.workers, 'client')} at a time: a slow one makes all others wait",
        "-m epoll",
    )


def inline_calls(facts: Facts, config: Config) -> Finding | None:
    """Find calls that wait, on the thread that serves all clients."""
    app = facts.app
    if app is None or app.kind not in ("wsgi", "web") or not plan.blocks_others(facts, config):
        return None
    waits = app.drivers + app.clients
    if app.kind == "web" and not waits:
        return None
    return Finding(
        Weight.HURTS,
        f"--calls inline under -m {plan.model(facts, config)}, and the app is "
        + ("a WSGI app" if app.kind == "wsgi" else "a Web handler")
        + (f" that uses {', '.join(waits)}" if waits else ""),
        "while one call waits, no other client of its worker is served",
        "--calls auto",
    )


def database(facts: Facts, config: Config) -> Finding | None:
    """Find more calls at once than a database accepts connections."""
    app = facts.app
    if app is None or app.kind not in ("wsgi", "web") or not app.drivers:
        return None
    name = DRIVERS[app.drivers[0]]
    most = _CONNECTIONS[name]
    calls = plan.calls_at_once(facts, config) * config.workers
    if calls <= most:
        return None
    return Finding(
        Weight.KNOW,
        f"up to {many(calls, 'call')} at once, and the app uses {app.drivers[0]}",
        f"if each takes a database connection of its own: {name} allows {most} by default (max_connections)",
        f"{_fewer_calls(facts, config, most)}, or a pool of connections in the app",
    )


def _fewer_calls(facts: Facts, config: Config, most: int) -> str:
    option = "--max-connections" if plan.calls(facts, config) == "inline" else "--threads"
    return f"{'--threads' if config.model == 'thread-pool' else option} {max(1, most // config.workers - 1)}"


def killed_in_mid_drain(facts: Facts, config: Config) -> Finding | None:
    """Find a graceful stop that may take longer than the time until the process is killed."""
    needed = config.drain_delay + config.graceful_timeout
    found = next((entry for entry in _KILLED_AFTER if entry[0] in facts.places), None)
    if found is None or needed < found[2]:
        return None
    _, killer, patience, setting = found
    shorter = patience - 5 - config.drain_delay  # the time left for requests in progress
    own = f"--graceful-timeout {shorter:g}" if shorter >= 1 else "a shorter --drain-delay"
    return Finding(
        Weight.KNOW if shorter >= 1 else Weight.HURTS,
        f"stopping may take {needed:g} s (--graceful-timeout {config.graceful_timeout:g}"
        + (f", --drain-delay {config.drain_delay:g}" if config.drain_delay else "")
        + f"), and {killer} kills after {patience} s by default",
        "a longer request is cut off, and the log does not mention it",
        own + (f", or {setting.format(*[f'{needed + 5:g}'] * 2)}" if setting else ""),
    )


def no_drain_delay(facts: Facts, config: Config) -> Finding | None:
    """Find no drain delay under Kubernetes, which sends TERM while its services still have the pod."""
    if "kubernetes" not in facts.places or config.drain_delay:
        return None
    return Finding(
        Weight.HURTS,
        "Kubernetes, and --drain-delay is 0",
        "a pod gets TERM before all proxies know that it leaves: until then, clients sent here cannot connect",
        "--drain-delay 5 (or a preStop hook that sleeps)",
    )


def websocket_pings(facts: Facts, config: Config) -> Finding | None:
    """Find pings too rare for proxies, which close a connection that seems idle."""
    if facts.kind != "asgi" or 0 < config.ws_ping_interval < 60:
        return None
    every = f"{config.ws_ping_interval:g}" if config.ws_ping_interval else "0: none"
    return Finding(
        Weight.HURTS,
        f"--ws-ping-interval {every}, and nginx and AWS load balancers close a connection that is idle for 60 s",
        "WebSockets without messages are closed",
        "--ws-ping-interval 20",
    )


def hang_before_call(facts: Facts, config: Config) -> Finding | None:
    """Find inline calls that may last longer than a worker may give no sign of life."""
    if not plan.blocks_others(facts, config) or not 0 < config.hang_timeout <= config.call_timeout:
        return None
    return Finding(
        Weight.HURTS,
        f"--call-timeout {config.call_timeout:g}, --hang-timeout {config.hang_timeout:g}, and calls are inline",
        "a worker gives no sign of life during a call: it is replaced before the call's own time limit",
        f"--hang-timeout {config.call_timeout + 30:g}, or --calls pool",
    )


def http_version(facts: Facts, config: Config) -> Finding | None:
    """Find a version of HTTP that those who connect cannot use, or gain nothing from."""
    if facts.kind == "service":
        return None
    if config.http == "2" and not config.certfile:
        return Finding(
            Weight.KNOW,
            "--http 2, and no certificate",
            "browsers speak HTTP/2 over TLS alone, and most proxies HTTP/1.1 unless they are told: only gRPC is served",
            "--http auto, or --certfile FILE --keyfile FILE",
        )
    if config.http == "1.1" and config.certfile:
        return Finding(
            Weight.KNOW,
            "--http 1.1, and a certificate",
            "a browser opens six connections, each with a handshake, and waits for one response after another on each",
            "--http auto; 1.1 is right where only a proxy connects, which gains nothing by HTTP/2 (docs/http2.md)",
        )
    return None


def port_of_clients(address: Address, facts: Facts, config: Config) -> Finding | None:
    """Find a port that the kernel may assign to an outgoing connection."""
    first, last = facts.ports
    port = address.port
    if not first <= port <= last or any(low <= port <= high for low, high in facts.reserved):
        return None
    return Finding(
        Weight.HURTS,
        f"--bind {address.text}, and the kernel picks ports for outgoing connections from {first} to {last}",
        "if a client on this machine happens to use the port, a start fails: Address already in use",
        f"sysctl -w net.ipv4.ip_local_reserved_ports={port}, or a port below {first}",
    )


def few_client_ports(address: Address, facts: Facts, config: Config) -> Finding | None:
    """Find few ports for clients here: a closed connection keeps its port for 60 s in TIME_WAIT (tcp_tw_reuse)."""
    count = facts.ports[1] - facts.ports[0] + 1
    if not address.is_local or facts.tw_reuse or count >= 10_000:
        return None
    return Finding(
        Weight.KNOW,
        f"--bind {address.text}, {count:,} ports for outgoing connections, and net.ipv4.tcp_tw_reuse is 0",
        f"a proxy here that opens a connection for each request runs out of ports at {count / 60:,.0f} a second",
        "sysctl -w net.ipv4.tcp_tw_reuse=2, keepalive in the proxy, or --bind unix:PATH",
    )
