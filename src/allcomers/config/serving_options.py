"""Options that say what is served, where and by which model."""

from __future__ import annotations

from allcomers.config.checks import (
    choice,
    file_mode,
    flag,
    header_field,
    integer,
    model_name,
    static_folder,
    worker_count,
)
from allcomers.config.option import Options, option


class AppOptions(Options, group="the app"):
    """How the app is taken."""

    interface: str = option(
        "auto", "--interface", "NAME", "the app's interface: auto, wsgi, asgi, asgi2, web or service",
        "The signature of an app shows its interface.", choice("auto", "wsgi", "asgi", "asgi2", "web", "service"),
    )  # fmt: skip
    factory: bool = option(
        False, "--factory", "", "call TARGET, without arguments, to get the app",
        "Most targets are the app itself.", flag,
    )  # fmt: skip
    static: tuple[str, ...] = option(
        (), "--static", "PATH=DIR", "serve the files of DIR below PATH, before the app: /static=public; repeatable",
        "Files are the app's, or a proxy's.", static_folder,
    )  # fmt: skip
    root_path: str = option(
        "", "--root-path", "PATH", "path at which a proxy mounts the app (SCRIPT_NAME, root_path)",
        "The app is at the root.",
    )  # fmt: skip
    lifespan: str = option(
        "auto", "--lifespan", "HOW", "ASGI's lifespan protocol: auto, on or off",
        "An app without it raises at once, and is then served without it.", choice("auto", "on", "off"),
    )  # fmt: skip
    asgi_pathsend: bool = option(
        False, "--asgi-pathsend", "", "offer ASGI apps the extensions by which the server sends files",
        "Middleware that compresses, caches or counts bodies rarely knows these messages, and loses the file.", flag,
    )  # fmt: skip


class ServingOptions(Options, group="serving"):
    """Where the server listens, and by which model it serves."""

    bind: tuple[str, ...] = option(
        ("127.0.0.1:8000",), "-b --bind", "ADDR",
        "listen on HOST:PORT ([::] is IPv6 alone), unix:PATH or fd://N; repeatable",
        "Only this machine can connect; gunicorn's address and port. Port 0 selects a free port.",
    )  # fmt: skip
    bind_plain: tuple[str, ...] = option(
        (), "--bind-plain", "ADDR", "beside TLS, serve without it on this address, too; repeatable",
        "What is encrypted at one port should not be had in the clear at another.",
    )  # fmt: skip
    redirect_https: tuple[str, ...] = option(
        (), "--redirect-https", "ADDR", "on this address, send each HTTP request to HTTPS (308); repeatable",
        "A proxy does that, or nobody connects without TLS.",
    )  # fmt: skip
    listen_when: str = option(
        "ready", "--listen-when", "WHEN", "listen once the first worker is `ready`, or at the `start`",
        "A balancer that is refused asks another server; one that is accepted would wait until the app is loaded.",
        choice("ready", "start"),
    )  # fmt: skip
    uds_mode: str = option(
        "", "--uds-mode", "MODE", "permissions of unix:PATH and of its --admin, in octal: 660",
        "The umask decides, as for every file.", file_mode,
    )  # fmt: skip
    uds_owner: str = option(
        "", "--uds-owner", "USER[:GROUP]", "owner of unix:PATH and of its --admin; :GROUP for a group alone",
        "The user and the group that start the server.",
    )  # fmt: skip
    model: str = option(
        "", "-m --model", "NAME", "concurrency model, one of those that `allcomers models` lists",
        "asyncio for ASGI apps, else the best poller of this system: epoll, kqueue, poll, select.", model_name,
    )  # fmt: skip
    workers: int = option(
        1, "-w --workers", "N", "worker processes; `auto`: one for each core; `1-8`: by the load",
        "All requests then see the same memory. gunicorn and uvicorn start with 1, too.", worker_count,
    )  # fmt: skip
    calls: str = option(
        "", "--calls", "WHERE", "where app calls run: inline, pool or auto",
        "auto under a loop: inline until a call lasts. inline for services, and for handlers under asyncio.",
        choice("inline", "pool", "auto"),
    )  # fmt: skip
    threads: int = option(
        32, "-t --threads", "N", "threads of the pool, and of the model thread-pool",
        "A call that waits most of its time leaves a core to some tens of others.", integer(1, 10_000),
    )  # fmt: skip
    http: str = option(
        "auto", "--http", "VERSION", "versions of HTTP: auto, 1.1 (and 1.0) or 2 alone",
        "Both: clients choose by ALPN in TLS, and without it by their first bytes.", choice("auto", "1.1", "2"),
    )  # fmt: skip
    compress: bool = option(
        False, "--compress", "", "compress text from 1 KB on: zstd, gzip or br, whichever the client accepts",
        "It costs CPU, and a proxy in front may do it already.", flag,
    )  # fmt: skip
    compress_secrets: bool = option(
        False, "--compress-secrets", "", "compress over TLS what may have secrets, too (docs/security.md)",
        "The size of a compressed answer tells a listener about a secret in it (BREACH).", flag,
    )  # fmt: skip
    gather: bool = option(
        True, "--gather", "", "send together what an app gives without waiting; --no-gather: each piece by itself",
        "Fewer sends for one response; a piece for which an app has waited goes out at once.", flag,
    )  # fmt: skip
    server_header: bool = option(
        True, "--server-header", "", "send the header Server; --no-server-header omits it",
        "nginx, gunicorn and uvicorn send it, too.", flag,
    )  # fmt: skip
    date_header: bool = option(
        True, "--date-header", "", "send the header Date; --no-date-header omits it, for a proxy that sends its own",
        "RFC 9110 wants it of a server that has a clock (6.6.1).", flag,
    )  # fmt: skip
    header: tuple[str, ...] = option(
        (), "--header", "NAME:VALUE", "add this header to each response, errors too; repeatable",
        "An app or a proxy knows better which response needs which header.", header_field,
    )  # fmt: skip


class TlsOptions(Options, group="TLS"):
    """Certificates."""

    certfile: tuple[str, ...] = option(
        (), "--certfile", "FILE", "serve TLS with this PEM certificate chain; repeatable (SNI)",
        "Without a certificate, nothing is encrypted.",
    )  # fmt: skip
    keyfile: tuple[str, ...] = option(
        (), "--keyfile", "FILE", "private key, if in a file of its own; one for each --certfile",
        "The certificate's file contains the key.",
    )  # fmt: skip
    keyfile_password_file: str = option(
        "", "--keyfile-password-file", "FILE", "password of encrypted keys, in the first line of FILE",
        "Keys are not encrypted. $ALLCOMERS_KEYFILE_PASSWORD is the password itself: a command line shows it to all.",
    )  # fmt: skip
    ca_certs: str = option(
        "", "--ca-certs", "FILE", "require client certificates that these authorities signed",
        "Clients need no certificate.",
    )  # fmt: skip
    client_cert: str = option(
        "", "--client-cert", "HOW", "with --ca-certs, a client's certificate is required or optional",
        "Authorities are named to require it.", choice("required", "optional"),
    )  # fmt: skip
    tls_min: str = option(
        "1.2", "--tls-min", "VERSION", "oldest version of TLS: 1.2 or 1.3",
        "Older ones are broken (RFC 8996); some clients know no newer one.", choice("1.2", "1.3"),
    )  # fmt: skip
    ciphers: str = option(
        "", "--ciphers", "LIST", "suites of TLS 1.2, as `openssl ciphers` takes them",
        "Those with AEAD and forward secrecy (RFC 9325). TLS 1.3 has no others.",
    )  # fmt: skip
    tls_self_signed: bool = option(
        False, "--tls-self-signed", "", "serve TLS with a certificate made here, for localhost alone",
        "For development: no client but yours trusts it.", flag,
    )  # fmt: skip
