"""Patch the standard library for greenlets: what looks as if it waits suspends a greenlet, and others run."""

from __future__ import annotations

import warnings


def patch() -> None:
    """Patch all, before the app is loaded: so its modules find sockets, locks and sleeps of gevent."""
    from gevent import monkey

    with warnings.catch_warnings():
        # That `ssl` is loaded already: no class of it has been used, or derived from.
        warnings.simplefilter("ignore", monkey.MonkeyPatchWarning)
        monkey.patch_all()
