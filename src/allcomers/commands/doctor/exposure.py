"""Rules about permissions: users, networks, certificates, files, and options for development used in public."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from allcomers.commands.doctor.facts import Address, Certificate, Facts, Finding, Weight
from allcomers.config.options import Config

_DAY: Final = 86400.0
_SOON: Final = 14 * _DAY
"""Seconds. Automatic renewal is earlier: certbot renews 30 days ahead."""

_CONTAINED: Final = frozenset({"container", "kubernetes", "ecs", "heroku"})
"""Places with a network of their own between the server and the public."""


def root(facts: Facts, config: Config) -> Finding | None:
    """Find an app that runs as root."""
    if facts.uid != 0 or config.user:
        return None
    return Finding(
        Weight.KNOW if facts.places & _CONTAINED else Weight.HURTS,
        "started as root, without --user",
        "the app runs as root: a vulnerability in it exposes the whole machine",
        "--user www-data (sockets are opened first); in a container: USER in the Dockerfile",
    )


def user(facts: Facts, config: Config) -> Finding | None:
    """Find a --user or a --group that does not exist."""
    if not facts.user_problem:
        return None
    given = [f"{option} {name}" for option, name in (("--user", config.user), ("--group", config.group)) if name]
    return Finding(
        Weight.FAILS,
        " ".join(given),
        f"{facts.user_problem}: the server does not start",
        "useradd --system NAME, or a name that `getent passwd` lists",
    )


def plain_in_public(facts: Facts, config: Config) -> Finding | None:
    """Find a public address without TLS and without a proxy."""
    behind = config.forwarded_allow_ips or config.proxy_protocol or facts.places & _CONTAINED
    public = [address.text for address in facts.addresses if address.is_public]
    if not public or config.certfile or behind or facts.kind == "service":
        return None
    return Finding(
        Weight.HURTS,
        f"--bind {', '.join(public)}, and neither a certificate nor a proxy (--forwarded-allow-ips)",
        "anyone on the network path can read and change the traffic",
        "--certfile FILE --keyfile FILE; behind a proxy on this machine: --bind 127.0.0.1:8000",
    )


def believes_anybody(facts: Facts, config: Config) -> Finding | None:
    """Find trust in proxy headers from every peer."""
    anybody = "*" in config.forwarded_allow_ips.replace(",", " ").split()
    if not facts.is_public or not (anybody or (config.proxy_protocol and not config.forwarded_allow_ips)):
        return None
    option = "--forwarded-allow-ips '*'" if anybody else "--proxy-protocol"
    return Finding(
        Weight.KNOW if facts.places & _CONTAINED else Weight.HURTS,
        f"{option}, and other machines can connect",
        "any client can claim any address, and https: in the log, to the app, to its limits by address",
        "--forwarded-allow-ips ADDRESS of the proxy, or a firewall that lets only the proxy connect",
    )


def reload_in_public(facts: Facts, config: Config) -> Finding | None:
    """Find --reload on a server that others depend on."""
    if not config.reload or not (facts.is_public or config.workers > 1):
        return None
    return Finding(
        Weight.HURTS,
        "--reload, and " + ("other machines can connect" if facts.is_public else f"{config.workers} workers"),
        "a half-written file is loaded and served; the server watches all files of the app",
        "without --reload; HUP loads a new version, and no request is lost",
    )


def reload_without_watcher(facts: Facts, config: Config) -> Finding | None:
    """Find --reload without the package that it needs."""
    if not config.reload or "watchfiles" in facts.packages:
        return None
    return Finding(
        Weight.FAILS,
        "--reload, and watchfiles is not installed",
        "no file is watched",
        "pip install 'allcomers[reload]'",
    )


def debug_log(facts: Facts, config: Config) -> Finding | None:
    """Find --log-level debug on a public address."""
    if config.log_level != "debug" or not facts.is_public:
        return None
    return Finding(
        Weight.HURTS,
        "--log-level debug, and other machines can connect",
        "at that level libraries log their arguments, secrets too; each line costs time and disk",
        "--log-level info",
    )


def access_log(facts: Facts, config: Config) -> Finding | None:
    """Find an access log that cannot be written."""
    return _unusable("--access-log", config.access_log, facts.log_problem)


def pid_file(facts: Facts, config: Config) -> Finding | None:
    """Find a PID file that cannot be written."""
    return _unusable("--pid", config.pid, facts.pid_problem)


def _unusable(option: str, path: str, problem: str) -> Finding | None:
    if not problem:
        return None
    return Finding(
        Weight.FAILS,
        f"{option} {path}",
        f"{problem}: the server does not start",
        f"install -d -o USER {Path(path).parent}, or {option} elsewhere",
    )


def address(address: Address, facts: Facts, config: Config) -> Finding | None:
    """Find an address that cannot be listened on."""
    if address.is_in_use:
        return Finding(
            Weight.KNOW,
            f"--bind {address.text}: a process listens there",
            "unless it is this server, already running, a start fails",
            f"ss -ltnp 'sport = :{address.port}' names it",
        )
    if not address.problem:
        return None
    low = address.problem == "Permission denied" and 0 < address.port < 1024
    return Finding(
        Weight.FAILS,
        f"--bind {address.text}: {address.problem}",
        "the server does not start",
        "AmbientCapabilities=CAP_NET_BIND_SERVICE in a systemd unit, or a port from 1024 on"
        if low
        else "--bind ADDRESS of this machine, as `ip address` lists them",
    )


def certificate(certificate: Certificate, facts: Facts, config: Config) -> Finding | None:
    """Find a certificate that cannot be used, or not for long."""
    option = f"--certfile {certificate.certfile}"
    renew = "renew it, then kill -HUP: no request is lost"
    if certificate.problem:
        return Finding(Weight.FAILS, option, certificate.problem, "--certfile FILE --keyfile FILE, both in PEM form")
    if certificate.begins > facts.now:
        days = (certificate.begins - facts.now) / _DAY
        return Finding(
            Weight.FAILS,
            f"{option}: valid in {days:.1f} days",
            "no client accepts it before then",
            "check `date`; if the clock is right: " + renew,
        )
    left = (certificate.expires - facts.now) / _DAY
    if left <= 0:
        return Finding(Weight.FAILS, f"{option}: expired {-left:.0f} days ago", "no client accepts it", renew)
    if left * _DAY > _SOON:
        return None
    return Finding(Weight.HURTS, f"{option}: expires in {left:.0f} days", "from then on no client accepts it", renew)


def certificate_key(certificate: Certificate, facts: Facts, config: Config) -> Finding | None:
    """Find a private key that every user can read."""
    if not certificate.mode & 0o004:
        return None
    return Finding(
        Weight.HURTS,
        f"{certificate.keyfile} has mode {certificate.mode:04o}",
        "every user of this machine can read the private key, and impersonate this server",
        f"chmod o= {certificate.keyfile}",
    )


def certificate_names(facts: Facts, config: Config) -> Finding | None:
    """Find host names without a certificate. The only known names are those in --bind."""
    names = [name for certificate in facts.certificates for name in certificate.names]
    usable = facts.certificates and not any(certificate.problem for certificate in facts.certificates)
    if usable and not names:
        return Finding(
            Weight.HURTS,
            f"--certfile {facts.certificates[0].certfile} names no host in subjectAltName",
            "browsers and most clients refuse it (RFC 9525)",
            "a certificate with the host's name in subjectAltName",
        )
    hosts = [place.host for place in facts.addresses if any(letter.isalpha() for letter in place.host)]
    missing = [host for host in hosts if ":" not in host and host != "localhost" and not _is_named(host, names)]
    if not usable or not missing:
        return None
    return Finding(
        Weight.HURTS,
        f"--bind {', '.join(missing)}, and the certificates are for {', '.join(names)}",
        "clients that connect by that name refuse the certificate",
        "another --certfile for it",
    )


def _is_named(host: str, names: list[str]) -> bool:
    lowered = [name.lower() for name in names]
    return host.lower() in lowered or "*." + host.lower().partition(".")[2] in lowered
