"""Server: any model, as an object of a Python program; and run(), with workers, as `allcomers run` has them."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from allcomers import models
from allcomers.apps.service import Service
from allcomers.config import sources
from allcomers.errors import ConfigError
from allcomers.server import error_log
from allcomers.server.embedded.in_process import InProcess
from allcomers.server.embedded.run import Run
from allcomers.system.signals import DRAIN, QUIT, Orders, Signals

if TYPE_CHECKING:
    from typing import Unpack

    from allcomers.config.options import Config
    from allcomers.server.embedded.keywords import ServerOptions
    from allcomers.server.supervisor.listeners import Ready

SUPERVISED: Final = (
    "admin", "chdir", "descriptors", "drain_delay", "group", "max_memory", "max_requests", "pid", "preload", "reload",
    "umask", "user", "workers_lifetime",
)  # fmt: skip
"""Options that need a supervisor: of processes that come and go, or of a whole process."""


class _Supervised:
    """A server with a supervisor, in the main thread, and workers.

    orders  end it: drain, quit
    """

    def __init__(self, load: Callable[[], Any], config: Config, name: str) -> None:
        from allcomers.server.hooks.hooks import LifeHooks
        from allcomers.server.job import Job
        from allcomers.server.supervisor.supervisor import Supervisor

        error_log.setup(*config.log_form)
        job = Job(config, load, hooks=LifeHooks(config), name=name)
        self._supervisor = Supervisor(job, renew=lambda: job, start=str(Path.cwd()))
        self.orders = self._supervisor.signals

    def serve(self, ready: Ready) -> None:
        """Serve until an order or a signal ends it. Raises OperatorError; SystemExit where no worker could start."""
        if status := self._supervisor.run(ready):
            sys.exit(status)


class Server(Service):
    r"""A server of `app`, under any model, from a Python program.

        with Server(app, port=0, model="thread") as server:   # serves in the background
            print(server.url)

        Server(app).serve_forever()                            # serves here, until TERM, INT or stop()

        await Server(app).serve()                              # on the event loop that runs this

    app      what `allcomers run` serves: a WSGI or an ASGI app, a Web or a Service class, a site, a function that takes
             a Request; or its name, "module:name"
    host     an address or a name; or "unix:PATH"
    port     0 for any free one: see `port` once it serves
    options  those of the command line, with _ for -: model="epoll", calls="pool", workers=2, access_log="-".
             Sizes and times are numbers, or text as there ("64M")

    A subclass may be the service itself: it has the hooks of a Service, and each connection gets an object of the
    subclass, with the attributes that this one has. What they share is what those refer to.

        class Upper(Server):
            framing = Delimited(b"\n")

            def request(self, data: bytes) -> bytes:
                return data.upper()

    Raises ConfigError for an option that there is not, or that has a wrong value.
    """

    def __init__(
        self, app: Any = None, host: str = "127.0.0.1", port: int = 8000, **options: Unpack[ServerOptions]
    ) -> None:
        if app is None and type(self).request is Service.request:
            raise ConfigError("Server() needs an app, or a subclass that has request(self, data)")
        self._app = app
        self._run: Run | None = None
        self.config = _config(host, port, options)

    @property
    def urls(self) -> list[str]:
        """The addresses at which clients can connect; [] while they cannot."""
        return [] if self._run is None else self._run.urls

    @property
    def url(self) -> str:
        """The first of them: "http://127.0.0.1:8000", "tcp://127.0.0.1:8000", "http+unix:…"; "" while there is none."""
        return next(iter(self.urls), "")

    @property
    def port(self) -> int:
        """The port of the first of them, also where any free one was asked for; 0 while there is none."""
        return 0 if self._run is None else self._run.port

    # ------------------------------------------------------------ in the background

    def start(self) -> Self:
        """Serve in the background, in a thread of this process. Return when clients can connect.

        Raises OperatorError: ListenError where the address is taken, AppError where the app cannot be served;
        RuntimeError where it serves already.
        """
        run = self._begin("start()", Orders(self.config.graceful_timeout))
        try:
            run.start()
        except BaseException:
            self.stop(drain=False, wait=False)
            raise
        return self

    def stop(self, drain: bool = True, wait: bool = True) -> None:
        """End it: finish the requests that have begun, in `graceful_timeout` seconds; without `drain`, at once.

        Any thread may call this. It returns when all has ended; a call of the app, which is not to wait for itself,
        says `wait=False`. Do nothing where it does not serve. Raises the error that has ended it before, if any.
        """
        if (run := self._run) is None:
            return
        run.order(DRAIN if drain else QUIT)
        if wait:
            try:
                run.wait()
            finally:
                self._run = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *raised: object) -> None:
        self.stop()

    # ------------------------------------------------------------ in this thread

    def serve_forever(self) -> None:
        """Serve in this thread, until stop() is called or, in the main thread, a signal comes: TERM drains, INT and
        QUIT stop at once.

        With more than one worker, or another option that needs a supervisor, as run() does. Raises as start().
        """
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and _supervised(self.config):
            self._serve(self._begin_supervised())
        else:
            orders = _signals(self.config) if is_main else Orders(self.config.graceful_timeout)
            self._serve(self._begin("serve_forever() in this thread", orders))

    async def serve(self) -> None:
        """Serve on the event loop that runs this, beside its other tasks, until stop() is called or a signal comes:
        TERM drains, INT stops at once. To cancel it is to stop it at once.

        An async app runs on this loop, the calls of another in threads. Raises as start().
        """
        if self.config.model not in ("", "asyncio"):
            raise ConfigError(f"serve() runs on an asyncio loop, and so under --model asyncio, not {self.config.model}")
        self.config = self.config.but(model="asyncio")
        run = self._begin("serve()", Orders(self.config.graceful_timeout), here=True)
        with _handled(asyncio.get_running_loop(), run):
            await run.serve_here()
        self.stop()

    # ------------------------------------------------------------ inside

    def _serve(self, run: Run) -> None:
        frozen = gc.get_freeze_count()
        run.serve()
        if not frozen:
            gc.unfreeze()  # what forks has frozen what there was
        self.stop()

    def _begin_supervised(self) -> Run:
        self._check_that_it_is_ended()
        supervised = _Supervised(self._load, self.config, self._name)
        self._run = Run(supervised.serve, supervised.orders)
        return self._run

    def _check_that_it_is_ended(self) -> None:
        if self._run is not None:
            raise RuntimeError(f"the server runs already, at {self.url}")

    def _begin(self, name: str, orders: Orders, *, here: bool = False) -> Run:
        try:
            self._check_that_it_is_ended()
            if needs := _supervised(self.config):
                raise ConfigError(f"{needs} needs a supervisor, which {name} has not: use allcomers.run()")
            if self.config.model == "process" and not isinstance(orders, Signals):
                raise ConfigError(
                    f"the process model forks, which a process with other threads cannot do safely: not by {name}, but "
                    "by serve_forever() in the main thread, or by allcomers.run()"
                )
            error_log.setup_here(*self.config.log_form)
            server = InProcess(self._load, self.config, orders)
            self._run = Run(server.serve_here if here else server.serve, orders)
        except BaseException:
            orders.give_back()
            raise
        return self._run

    @property
    def _name(self) -> str:
        """The name of what is served, for the log."""
        app = self if self._app is None else self._app
        return app if isinstance(app, str) else getattr(app, "__qualname__", type(app).__qualname__)

    def _load(self) -> Any:
        if self._app is None:
            return _connection_class(self)
        if isinstance(self._app, str):
            from allcomers.apps import loading

            return loading.load(self._app)
        return self._app


def run(app: Any, host: str = "127.0.0.1", port: int = 8000, **options: Unpack[ServerOptions]) -> None:
    """Serve `app` until a signal ends it, with a supervisor and workers, as `allcomers run` does.

    The arguments are Server's. An app that is an object is loaded already, so HUP replaces the workers but not its
    code: give its name, "module:name", for that. Call it in the main thread. Raises ConfigError, ListenError;
    SystemExit with the exit status where the first worker could not start, which the log explains.
    """
    server = Server(app, host, port, **options)
    server._serve(server._begin_supervised())


def _supervised(config: Config) -> str:
    """Return the name of an option in `config` that needs a supervisor; "" for none."""
    if config.workers > 1:
        return "workers"
    if config.model and models.get(config.model).is_patched:
        return "the gevent model patches the standard library in a worker, before the app is loaded: it"
    return next((name for name in SUPERVISED if getattr(config, name)), "")


def _config(host: str, port: int, options: ServerOptions) -> Config:
    given = {name: value for name, value in options.items() if value is not None}
    if "bind" not in given:
        given["bind"] = host if host.startswith("unix:") else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return sources.of_keywords(given)


def _connection_class(server: Server) -> type[Server]:
    """Return a class whose objects serve one connection each, with the attributes of `server`."""

    def adopt(connection: Server) -> None:
        vars(connection).update(vars(server))

    return type(type(server).__name__, (type(server),), {"__init__": adopt})


# ------------------------------------------------------------ signals


def _signals(config: Config) -> Signals:
    signals = Signals(config.graceful_timeout)
    signals.on(signal.SIGTERM, signals.drain)
    signals.on(signal.SIGINT, signals.quit)
    signals.on(signal.SIGQUIT, signals.quit)
    return signals


@contextmanager
def _handled(events: asyncio.AbstractEventLoop, run: Run) -> Iterator[None]:
    """Have signals end the run, where this is the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    orders = {signal.SIGTERM: DRAIN, signal.SIGINT: QUIT}
    before = {signum: signal.getsignal(signum) for signum in orders}
    for signum, order in orders.items():
        events.add_signal_handler(signum, run.order, order)
    try:
        yield
    finally:
        for signum, handler in before.items():
            events.remove_signal_handler(signum)
            signal.signal(signum, handler)
