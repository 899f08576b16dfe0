"""Several apps behind one endpoint: what `routes` and `--static` join, each with its own way to be called.

A table finds the leaf of a request: a handler, or the Mount of a WSGI or an ASGI app. On an event loop the call of an
ASGI app begins with the head, so the leaf is looked for then; a handler and a WSGI app get the whole request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from allcomers.apps.asgi.asgi2 import single
from allcomers.apps.mounts import Mount, Table, call_found, leaf, leaves_of
from allcomers.apps.static.site import Site
from allcomers.apps.web import HandlerObject, error_response
from allcomers.connection.http.async_call import Answered, Asker, AsyncCall
from allcomers.connection.http.endpoint import Begin, Begun
from allcomers.connection.http.response_head import internal_error
from allcomers.errors import ConfigError, HttpError
from allcomers.protocol.message import Handler, Request, Response

Start: TypeAlias = Callable[[Request, Asker], AsyncCall]


class StaticFront(HandlerObject):
    """Folders in front of an app, each below a prefix; the app sees all other paths as they came."""

    __slots__ = ("_app", "_folders", "_prefixes", "leaves")

    def __init__(self, folders: Mapping[str, Site], app: Handler) -> None:
        """`folders` by prefix: "/static"."""
        self._app = app
        self._folders = dict(sorted(folders.items(), key=lambda item: -len(item[0])))
        self._prefixes = tuple(self._folders)
        self.leaves: tuple[Handler, ...] = (*self._folders.values(), *leaves_of(app))

    def find(self, request: Request) -> Handler:
        path = request.path
        if path.startswith(self._prefixes):
            for prefix, site in self._folders.items():
                if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/"):
                    request.prefix, request.path = prefix, path[len(prefix) :] or "/"
                    return site
        find = getattr(self._app, "find", None)
        return self._app if find is None else find(request)

    def __call__(self, request: Request) -> Response:
        return call_found(self, request)


class Joined:
    """Calls the leaves of a table: a Handler, and the AsyncCall of ASGI apps and of folders.

    handlers  of Mounts whose calls are a handler's, by the id() of their app
    starts    of those whose calls are tasks of the event loop
    report    called with a folder's exception and its request, as HttpEndpoint has it
    """

    def __init__(
        self,
        table: Table,
        handlers: Mapping[int, Handler],
        starts: Mapping[int, tuple[Start, Begin]],
        report: Callable[[BaseException, Request], Response | None],
    ) -> None:
        self._table = table
        self._handlers = handlers
        self._starts = starts
        self._report = report

    @property
    def is_async(self) -> bool:
        """Whether all leaves are folders and tasks of the event loop."""
        return all(
            isinstance(leaf, Site) or (isinstance(leaf, Mount) and id(leaf.app) in self._starts)
            for leaf in self._table.leaves
        )

    def __call__(self, request: Request) -> Response:
        return call_found(self._table, request, self._handlers)

    def async_call(self, request: Request, asker: Asker) -> AsyncCall | None:
        """Return the AsyncCall for `request`; None where a handler is to have it, whole."""
        path = request.path
        try:
            found = self._table.find(request)
            if isinstance(found, Mount) and id(found.app) in self._starts:
                return self._starts[id(found.app)][0](request, asker)
            if isinstance(found, Site):
                return Answered(self._of_folder(found, request))
        except HttpError as error:
            return Answered(error_response(error))
        request.prefix, request.path = "", path  # it is looked for again, when all of it is here
        return None

    def begin(self, request: Request, asker: Asker) -> Begun:
        """Start the call of `request`, as HttpEndpoint has it; only where all `is_async`."""
        try:
            found = self._table.find(request)
        except HttpError as error:
            return error_response(error)
        if not isinstance(found, Mount):
            return self._of_folder(found, request)
        start, begin = self._starts[id(found.app)]
        if not (request.prefix or request.params):
            return begin(request, asker)
        call = start(request, asker)
        return call, call.start()

    def _of_folder(self, site: Handler, request: Request) -> Response:
        try:
            return site(request)
        except OSError as error:
            return self._report(error, request) or internal_error()


def apps_of(table: Table, *kinds: str) -> dict[int, Any]:
    """Return the apps of these kinds in a table, by their id(); of ASGI 2, each as one call."""
    found = {id(leaf.app): leaf for leaf in table.leaves if isinstance(leaf, Mount) and leaf.kind in kinds}
    return {key: single(mount.app) if mount.kind == "asgi2" else mount.app for key, mount in found.items()}


def table(kind: str, app: Any, static: Iterable[str]) -> Table | None:
    """Return the table of an app and the folders of --static; None for an app alone, whatever it calls itself.

    Raises ConfigError for what is no folder, and what leaf() refuses.
    """
    front = leaf(kind, app)
    folders = {path.rstrip("/"): _folder(path, name) for path, _, name in (text.partition("=") for text in static)}
    if folders:
        return StaticFront(folders, front)
    return front if any(isinstance(found, Mount) for found in leaves_of(front)) else None  # type: ignore[return-value]


def _folder(path: str, name: str) -> Site:
    try:
        return Site(name)
    except ConfigError as error:
        raise ConfigError(f"--static {path}={name}: {error}") from None
