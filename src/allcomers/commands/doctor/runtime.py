"""Rules about the interpreter, the packages beside it, and the app itself."""

from __future__ import annotations

from calendar import timegm
from typing import Final

from allcomers.commands.doctor import plan
from allcomers.commands.doctor.facts import Facts, Finding, Weight, many
from allcomers.config.options import Config

_ENDS: Final = {(3, 11): (2027, 10), (3, 12): (2028, 10), (3, 13): (2029, 10), (3, 14): (2030, 10), (3, 15): (2031, 10)}
"""{a version of Python: the month of its last fixes} (PEPs 664, 693, 719, 745 and 790)."""

_SLOW_IMPORT: Final = 3.0


def old_python(facts: Facts, config: Config) -> Finding | None:
    """Find a version of Python that gets no more fixes."""
    year, month = _ENDS.get(facts.version, (9999, 1))
    if facts.now < timegm((year, month, 31, 0, 0, 0)):
        return None
    version = ".".join(map(str, facts.version))
    return Finding(
        Weight.HURTS,
        f"Python {version}",
        f"its vulnerabilities have not been fixed since {year}-{month:02}",
        "a newer one: `python3.14 -m venv`",
    )


def debug_python(facts: Facts, config: Config) -> Finding | None:
    """Find a build or a mode for debugging Python."""
    if not facts.is_debug and not facts.is_dev:
        return None
    return Finding(
        Weight.HURTS,
        "a debug build of Python" if facts.is_debug else "Python in development mode (-X dev, PYTHONDEVMODE)",
        "it checks each of its own steps: all code is several times slower"
        if facts.is_debug
        else "it checks more, and is slower",
        "a release build" if facts.is_debug else "unset PYTHONDEVMODE",
    )


def slow_build(facts: Facts, config: Config) -> Finding | None:
    """Find a Python built without profiles, as pyenv builds it by default."""
    if facts.is_optimized or facts.is_debug:
        return None
    return Finding(
        Weight.KNOW,
        "this Python was built without --enable-optimizations",
        "its interpreter is slower than it could be: CPython's documentation recommends the option",
        "PYTHON_CONFIGURE_OPTS='--enable-optimizations --with-lto' pyenv install "
        + ".".join(map(str, facts.version))
        + ", or the distribution's Python",
    )


def free_threads_with_gil(facts: Facts, config: Config) -> Finding | None:
    """Find a free-threaded build whose GIL is on."""
    if not facts.is_free_threaded or not facts.gil:
        return None
    return Finding(
        Weight.HURTS,
        "a free-threaded build of Python, and its GIL is on",
        "threads do not run in parallel, and each is slower than in the usual build",
        "PYTHON_GIL=0, if all extension modules support it; else the usual build",
    )


def no_uvloop(facts: Facts, config: Config) -> Finding | None:
    """Find asyncio's own loop, which is plain Python."""
    if "uvloop" in facts.packages or (facts.kind != "asgi" and plan.model(facts, config) != "asyncio"):
        return None
    return Finding(
        Weight.KNOW,
        "uvloop is not installed",
        "asyncio's own loop is written in Python and takes more CPU for each request",
        "pip install 'allcomers[uvloop]'",
    )


def no_websockets(facts: Facts, config: Config) -> Finding | None:
    """Find an ASGI app without the package that WebSockets need."""
    if facts.kind != "asgi" or "websockets" in facts.packages:
        return None
    return Finding(
        Weight.KNOW,
        "an ASGI app, and the package websockets is not installed",
        "if the app has WebSockets, their clients are refused",
        "pip install 'allcomers[websocket]'",
    )


def blocked_websockets(facts: Facts, config: Config) -> Finding | None:
    """Find an ASGI app under a blocking model, which cannot send while it waits to receive."""
    if facts.kind != "asgi" or not plan.is_blocking(facts, config):
        return None
    return Finding(
        Weight.HURTS,
        f"an ASGI app under -m {plan.model(facts, config)}",
        "each call runs to its end on an event loop of its own; WebSockets are refused",
        "-m asyncio, or -m epoll",
    )


def patched_threads(facts: Facts, config: Config) -> Finding | None:
    """Find an app that has put greenlets in the place of threads, under a model that has threads."""
    if facts.app is None or not facts.app.patched or config.model == "gevent":
        return None
    is_async = facts.kind == "asgi"
    return Finding(
        Weight.HURTS,
        f"{facts.app.target} calls gevent.monkey.patch_all() when it is imported, under -m {plan.model(facts, config)}",
        "asyncio.to_thread() and sync endpoints never return"
        if is_async
        else "its calls run in threads, and a greenlet that one starts only while it waits",
        "an async app needs no gevent: leave monkey.patch_all() out" if is_async else "-m gevent",
    )


def app_problem(facts: Facts, config: Config) -> Finding | None:
    """Find an app that cannot be loaded."""
    if facts.app is None or not facts.app.problem:
        return None
    return Finding(
        Weight.FAILS,
        f"{facts.app.target} cannot be loaded",
        facts.app.problem,
        "see the traceback" if facts.app.traceback else "allcomers doctor MODULE:ATTRIBUTE, or FILE.py:ATTRIBUTE",
    )


def slow_import(facts: Facts, config: Config) -> Finding | None:
    """Find a slow import, for which each start, reload and replacement waits."""
    if facts.app is None or facts.app.seconds < _SLOW_IMPORT:
        return None
    return Finding(
        Weight.KNOW,
        f"loading {facts.app.target} takes {facts.app.seconds:.1f} s",
        "each start, each HUP and each replacement of a worker waits that long",
        f"python -X importtime -c 'import {facts.app.target.partition(':')[0]}' shows the slow part",
    )


def threads_before_fork(facts: Facts, config: Config) -> Finding | None:
    """Find threads before a fork, which copies one thread and the locks that others hold (fork(2))."""
    if facts.app is None or not facts.app.threads or plan.model(facts, config) != "process":
        return None
    return Finding(
        Weight.HURTS,
        f"-m process, and {_threads(facts)} when {facts.app.target} is imported",
        "a connection's process has none of them, and a lock that one held stays locked: it may hang",
        "-m thread or -m epoll --calls pool, or start them at the first request",
    )


def threads_in_each_worker(facts: Facts, config: Config) -> Finding | None:
    """Find threads, such as a scheduler, that each worker starts at import."""
    if facts.app is None or not facts.app.threads or config.workers == 1:
        return None
    return Finding(
        Weight.KNOW,
        f"{_threads(facts)} when {facts.app.target} is imported, and there are {many(config.workers, 'worker')}",
        f"each worker has its own: a scheduled job is done {config.workers} times",
        "run them in a process of their own, or --workers 1",
    )


def _threads(facts: Facts) -> str:
    names = facts.app.threads if facts.app else ()
    some = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
    return f"{many(len(names), 'thread')} ({some}) run{'s' if len(names) == 1 else ''}"


def listening_app(facts: Facts, config: Config) -> Finding | None:
    """Find a port that the app itself opens at import, in each worker."""
    if facts.app is None or not facts.app.listening or config.workers == 1:
        return None
    return Finding(
        Weight.FAILS,
        f"{facts.app.target} itself listens on {', '.join(facts.app.listening)} when it is imported",
        f"the first of {many(config.workers, 'worker')} has that address: the others cannot load the app",
        "open it in a process of its own, or --workers 1",
    )
