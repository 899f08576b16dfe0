"""What a target is, found by looking at it: a Web class, a Service, a WSGI or an ASGI app, or what makes one.

    service  a subclass of Service
    web      a subclass or an instance of Web, or a callable that takes a Request
    wsgi     a callable that takes (environ, start_response): PEP 3333
    asgi     a callable that takes (scope, receive, send) and returns an awaitable: ASGI 3
    asgi2    a callable that takes (scope) and returns one that takes (receive, send): ASGI 2, with two calls

Nothing is called to find out: an app that is called for a look may have done something. What is looked at is which
positional arguments it takes, by name and by number, and for one that takes any, whether it is `async`. Where that does
not tell, the operator is asked for --interface.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any, Final, NamedTuple

from allcomers.apps.service import Service
from allcomers.apps.web import HandlerObject, Web
from allcomers.config.options import Config
from allcomers.errors import AppError

_SAY: Final = "say which it is with --interface wsgi, asgi, asgi2, web or service"
_KINDS: Final = (
    "what can is a Web or a Service class, a callable that takes a Request, a WSGI app (environ, start_response) "
    "or an ASGI app (scope, receive, send)"
)
_ANY: Final = 1 << 30
_VARARGS: Final = 0x04
_COROUTINE: Final = 0x80
"""Flags of a code object, by their names in `inspect`."""


def detect(target: Any, config: Config) -> tuple[str, Any]:
    """The name of the interface that serves `target`, and what is to be served: with --factory, what `target` made.

    Raises AppError: it is nothing that can be served, or nobody can tell what it is.
    """
    if config.factory:
        target = _made(target)
    if config.interface != "auto":
        return config.interface, _checked(target, config.interface)
    if isinstance(target, type) and issubclass(target, Service):
        return "service", target
    if isinstance(target, Web | HandlerObject) or (isinstance(target, type) and issubclass(target, Web)):
        return "web", target
    if not callable(target):
        raise AppError(_not_callable(target))
    return (_of_class if isinstance(target, type) else _of_callable)(target), target


# ---------------------------------------------------------------- what was asked for


def _made(factory: Any) -> Any:
    """What --factory makes."""
    if not callable(factory):
        raise AppError(f"--factory calls TARGET, and {_named(factory)} cannot be called: leave --factory out")
    taken = _taken(factory)
    if taken is not None and (taken.least > 0 or taken.keywords):
        raise AppError(
            f"--factory calls TARGET without arguments, and {_named(factory)} needs some ({_list(taken)}): "
            "if it is the app itself, leave --factory out; else give them, as MODULE:NAME('value')"
        )
    if _is_async(factory):
        raise AppError(f"--factory calls TARGET, and {_named(factory)} is async: a factory is a plain def")
    try:
        return factory()
    except BaseException as error:
        from allcomers.apps.loading import failure

        raise failure(f"calling the factory {_named(factory)}", error) from None


def _checked(target: Any, interface: str) -> Any:
    """`target`, which the operator says is served by `interface`: what is plainly not true is told now."""
    if interface == "service":
        if not (isinstance(target, type) and issubclass(target, Service)):
            raise AppError(f"--interface service needs a subclass of allcomers.Service, not {_named(target)}")
    elif not callable(target):
        raise AppError(f"--interface {interface}: {_not_callable(target)}")
    return target


# ---------------------------------------------------------------- looking


class _Parameters(NamedTuple):
    """The positional arguments that a callable takes: how many at least and at most, and their names.

    keywords  the names of others that must be given
    """

    least: int
    most: int
    names: list[str]
    keywords: list[str]


def _taken(target: Callable[..., Any]) -> _Parameters | None:
    """What `target` takes, wrappers looked through (functools.wraps, partial); None where that cannot be read."""
    if type(target) is FunctionType and not vars(target):
        return _taken_by(target)
    import inspect  # late: of 10 ms, which a function, a Web class or a site need not wait for

    try:
        parameters = inspect.signature(target).parameters.values()
    except (ValueError, TypeError):
        return None
    positional = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    return _Parameters(
        least=sum(one.default is one.empty for one in positional),
        most=_ANY if any(one.kind is one.VAR_POSITIONAL for one in parameters) else len(positional),
        names=[one.name for one in positional],
        keywords=[one.name for one in parameters if one.kind is one.KEYWORD_ONLY and one.default is one.empty],
    )


def _taken_by(function: FunctionType) -> _Parameters:
    """The same of a function that nobody has wrapped or marked, as inspect.signature has it, without the 10 ms."""
    code = function.__code__
    positional, end = code.co_argcount, code.co_argcount + code.co_kwonlyargcount
    return _Parameters(
        least=positional - len(function.__defaults__ or ()),
        most=_ANY if code.co_flags & _VARARGS else positional,
        names=list(code.co_varnames[:positional]),
        keywords=[name for name in code.co_varnames[positional:end] if name not in (function.__kwdefaults__ or {})],
    )


def _is_async(target: Any) -> bool:
    """Does calling it give a coroutine? Told of functions, methods, partials, and instances by their __call__."""
    if type(target) is FunctionType and not vars(target):
        return bool(target.__code__.co_flags & _COROUTINE)
    import inspect

    return inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(type(target).__call__)


def _by_name(names: list[str]) -> str:
    """What the names of arguments tell, as the specifications have them; "" for nothing."""
    if names[:1] == ["environ"] or names[1:2] == ["start_response"]:
        return "wsgi"
    if names[:3] == ["scope", "receive", "send"]:
        return "asgi"
    return ""


def _of_callable(target: Callable[..., Any]) -> str:
    """What a function is, or an instance that can be called. Raises AppError."""
    taken = _taken(target)
    if taken is None:
        raise AppError(f"nobody can read which arguments {_named(target)} takes: {_SAY}")
    if taken.keywords:
        raise AppError(f"{_named(target)} needs the keyword argument {taken.keywords[0]!r}, which no server gives")
    name = _by_name(taken.names)
    if _is_async(target):
        if name == "wsgi" or not taken.least <= 3 <= taken.most:
            raise AppError(
                f"{_named(target)} is async and takes {_list(taken)}: an ASGI app takes scope, receive and send; "
                "a handler and a WSGI app are plain functions"
            )
        return "asgi"
    return name or _by_number(target, taken)


def _by_number(target: Callable[..., Any], taken: _Parameters) -> str:
    """What a plain callable is by how many arguments it needs."""
    if taken.least == 0 and taken.most == _ANY:
        return "wsgi"  # a wrapper that hides its app: wsgiref.validate's, for one; of ASGI apps these are async
    if taken.least == 0:
        raise AppError(
            f"{_named(target)} needs no arguments, so it seems to be a factory: --factory has it make the app"
        )
    if taken.least > 3:
        raise AppError(f"{_named(target)} takes {_list(taken)}, as no kind of app does; {_KINDS}")
    if taken.least == 1:
        return "asgi2" if taken.names[0] == "scope" else "web"
    return "wsgi" if taken.least == 2 else "asgi"


def _of_class(target: type) -> str:
    """What a class is that is called for each request. Raises AppError, also for one whose instances are apps."""
    taken = _taken(target)
    least, names = (taken.least, taken.names) if taken else (-1, [])
    if least == 2 and (hasattr(target, "__iter__") or _by_name(names) == "wsgi"):
        return "wsgi"  # PEP 3333, "The Application/Framework Side": class AppClass
    if least == 3 and hasattr(target, "__await__"):
        return "asgi"
    call = next((vars(base)["__call__"] for base in target.__mro__ if "__call__" in vars(base)), None)
    if least == 1 and call is not None and _is_async(call):
        return "asgi2"
    made = "name an instance of it" + (", or add --factory, which makes one" if least == 0 else "")
    if call is None:
        made = _KINDS
    raise AppError(f"{_named(target)} is a class but no Web, no Service, and not called for each request: {made}")


# ---------------------------------------------------------------- saying


def _named(target: Any) -> str:
    """How a message calls `target`."""
    from types import ModuleType

    if isinstance(target, ModuleType):
        return f"the module {target.__name__}"
    name = getattr(target, "__qualname__", None)
    if isinstance(name, str):
        return name
    if isinstance(target, str | bytes | int | float | None):
        return ascii(target)[:60]
    return f"an instance of {type(target).__module__}.{type(target).__qualname__}"


def _list(taken: _Parameters) -> str:
    names = [*taken.names, *(["*args"] if taken.most == _ANY else [])]
    return ", ".join(names) or "no arguments"


def _not_callable(target: Any) -> str:
    if isinstance(target, Service):
        return f"{_named(target)} is made already: name the class, of which each connection gets an instance"
    return f"{_named(target)} cannot be served; {_KINDS}"
