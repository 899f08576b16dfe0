"""A certificate for this machine alone, made by the command `openssl`, and kept for the next start.

No package is needed for it, and a browser's exception for it lasts as long as the file. A certificate that others
trust comes from an authority (docs/running.md).
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

from allcomers.errors import ConfigError

_DAYS: Final = 30
_RENEW: Final = 24 * 3600.0
"""Seconds before its end from which on a new one is made."""

_REQUEST: Final = (
    "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc",
    "-days", str(_DAYS), "-subj", "/CN=localhost", "-keyout", "-", "-out", "-",
    "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1",
    "-addext", "basicConstraints=critical,CA:FALSE", "-addext", "extendedKeyUsage=serverAuth",
)  # fmt: skip
"""openssl-req(1), from OpenSSL 3.0 on."""


def local_certificate() -> str:
    """Return the path of a file, of this user alone, with a certificate for localhost, 127.0.0.1 and ::1 and its key.

    It is made where there is none, or none for a day more. Raises ConfigError.
    """
    path = _folder() / "localhost.pem"
    try:
        path.parent.mkdir(0o700, parents=True, exist_ok=True)
        if not _lasts(path):
            _write(path, _made())
    except OSError as error:
        raise ConfigError(f"--tls-self-signed: {str(error.filename or path)!r}: {error.strerror}") from None
    return str(path)


def _folder() -> Path:
    """Return the folder of this user's caches (XDG Base Directory Specification)."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(named) if Path(named).is_absolute() else Path.home() / ".cache") / "allcomers"


def _lasts(path: Path) -> bool:
    """Return whether the file is this user's alone, and young enough."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    is_own = status.st_uid == os.geteuid() and status.st_mode & 0o170077 == 0o100000
    return is_own and 0 <= time.time() - status.st_mtime < _DAYS * 24 * 3600 - _RENEW


def _made() -> bytes:
    """Return a new key and its certificate, in PEM form. Raises ConfigError."""
    try:
        done = subprocess.run(_REQUEST, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)
    except FileNotFoundError:
        raise ConfigError(
            "--tls-self-signed needs the command `openssl`: install it (Debian: apt install openssl), or name a"
            " certificate by --certfile"
        ) from None
    except subprocess.TimeoutExpired:
        raise ConfigError("--tls-self-signed: openssl req took more than 30 s") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it does not say why"]
        raise ConfigError(f"--tls-self-signed: openssl req failed: {said[-1]}")
    return done.stdout


def _write(path: Path, data: bytes) -> None:
    """Replace the file at once: another server may read it, or write it, too."""
    fd, name = tempfile.mkstemp(dir=path.parent)  # of mode 0600
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
