"""Detection of a target's kind: a Web class, a Service, a WSGI or an ASGI app, or a factory of one.

    service  a subclass of Service
    web      a subclass or an instance of Web, or a callable that takes a Request
    wsgi     a callable that takes (environ, start_response): PEP 3333
    asgi     a callable that takes (scope, receive, send) and returns an awaitable: ASGI 3
    asgi2    a callable that takes (scope) and returns one that takes (receive, send): ASGI 2, with two calls

Nothing is called to find out, for a call may have effects. The kind follows from the positional arguments of the
target, by name and by number, and for one with any arguments, from whether it is `async`. Where that does not decide,
the error asks for --interface.
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
    "an app is a Web or a Service class, a callable that takes a Request, a WSGI app (environ, start_response) "
    "or an ASGI app (scope, receive, send)"
)
_ANY: Final = 1 << 30
_VARARGS: Final = 0x04
_COROUTINE: Final = 0x80
"""Flags of a code object, by their names in `inspect`."""


def detect(target: Any, config: Config) -> tuple[str, Any]:
    """Return the name of the interface that serves `target`, and the app: with --factory, the one that `target` made.

    Raises AppError: it cannot be served, or its kind cannot be detected.
    """
    if config.factory:
        target = _call_factory(target)
    if config.interface != "auto":
        return config.interface, _checked(target, config.interface)
    if isinstance(target, type) and issubclass(target, Service):
        return "service", target
    if isinstance(target, Web | HandlerObject) or (isinstance(target, type) and issubclass(target, Web)):
        return "web", target
    if not callable(target):
        raise AppError(_not_callable(target))
    return (_kind_of_class if isinstance(target, type) else _kind_of_callable)(target), target


# ---------------------------------------------------------------- --factory and --interface


def _call_factory(factory: Any) -> Any:
    """Return the app that a factory makes. Raises AppError."""
    if not callable(factory):
        raise AppError(f"--factory calls TARGET, and {_named(factory)} cannot be called: leave --factory out")
    parameters = _parameters_of(factory)
    if parameters is not None and (parameters.least > 0 or parameters.keywords):
        raise AppError(
            f"--factory calls TARGET without arguments, and {_named(factory)} needs some ({_list(parameters)}): "
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
    """Return `target`, for which the operator chose `interface`. Raises AppError where that cannot be."""
    if interface == "service":
        if not (isinstance(target, type) and issubclass(target, Service)):
            raise AppError(f"--interface service needs a subclass of allcomers.Service, not {_named(target)}")
    elif not callable(target):
        raise AppError(f"--interface {interface}: {_not_callable(target)}")
    return target


# ---------------------------------------------------------------- parameters


class _Parameters(NamedTuple):
    """The positional parameters of a callable: how many at least and at most, and their names.

    keywords  the names of required keyword arguments
    """

    least: int
    most: int
    names: list[str]
    keywords: list[str]


def _parameters_of(target: Callable[..., Any]) -> _Parameters | None:
    """Return the parameters of `target`, or of the function it wraps (functools.wraps, partial); None if unreadable."""
    if type(target) is FunctionType and not vars(target):
        return _parameters_of_function(target)
    import inspect  # late: it takes 10 ms, and a function, a Web class or a site does without

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


def is_readable(target: Callable[..., Any]) -> bool:
    """Return whether the parameters of `target` can be read, by which its kind is detected."""
    return _parameters_of(target) is not None


def _parameters_of_function(function: FunctionType) -> _Parameters:
    """Return the parameters of a plain function as inspect.signature has them, without its import of 10 ms."""
    code = function.__code__
    positional, end = code.co_argcount, code.co_argcount + code.co_kwonlyargcount
    return _Parameters(
        least=positional - len(function.__defaults__ or ()),
        most=_ANY if code.co_flags & _VARARGS else positional,
        names=list(code.co_varnames[:positional]),
        keywords=[name for name in code.co_varnames[positional:end] if name not in (function.__kwdefaults__ or {})],
    )


def _is_async(target: Any) -> bool:
    """Return True if a call returns a coroutine: of a function, a method, a partial, an instance with __call__."""
    if type(target) is FunctionType and not vars(target):
        return bool(target.__code__.co_flags & _COROUTINE)
    import inspect

    return inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(type(target).__call__)


# ---------------------------------------------------------------- kinds


def _kind_by_names(names: list[str]) -> str:
    """Return the kind whose specification has these names of arguments; "" for none."""
    if names[:1] == ["environ"] or names[1:2] == ["start_response"]:
        return "wsgi"
    if names[:3] == ["scope", "receive", "send"]:
        return "asgi"
    return ""


def _kind_of_callable(target: Callable[..., Any]) -> str:
    """Return the kind of a function, or of an instance with __call__. Raises AppError."""
    parameters = _parameters_of(target)
    if parameters is None:
        raise AppError(f"the arguments of {_named(target)} cannot be read: {_SAY}")
    if parameters.keywords:
        raise AppError(f"{_named(target)} needs the keyword argument {parameters.keywords[0]!r}, which no server gives")
    kind = _kind_by_names(parameters.names)
    if _is_async(target):
        if kind == "wsgi" or not parameters.least <= 3 <= parameters.most:
            raise AppError(
                f"{_named(target)} is async and takes {_list(parameters)}: an ASGI app takes scope, receive and send; "
                "a handler and a WSGI app are plain functions"
            )
        return "asgi"
    return kind or _kind_by_count(target, parameters)


def _kind_by_count(target: Callable[..., Any], parameters: _Parameters) -> str:
    """Return the kind of a plain callable by the number of its required arguments. Raises AppError."""
    least = parameters.least
    if least == 0 and parameters.most == _ANY:
        return "wsgi"  # a wrapper that hides its app: wsgiref.validate's, for one; of ASGI apps these are async
    if least == 0:
        raise AppError(f"{_named(target)} needs no arguments and seems to be a factory: add --factory, which calls it")
    if least > 3:
        raise AppError(f"{_named(target)} takes {_list(parameters)}, as no kind of app does; {_KINDS}")
    if least == 1:
        return "asgi2" if parameters.names[0] == "scope" else "web"
    return "wsgi" if least == 2 else "asgi"


def _kind_of_class(target: type) -> str:
    """Return the kind of a class that is called for each request. Raises AppError, also if its instances are apps."""
    parameters = _parameters_of(target)
    least, names = (parameters.least, parameters.names) if parameters else (-1, [])
    if least == 2 and (hasattr(target, "__iter__") or _kind_by_names(names) == "wsgi"):
        return "wsgi"  # PEP 3333, "The Application/Framework Side": class AppClass
    if least == 3 and hasattr(target, "__await__"):
        return "asgi"
    call = next((vars(base)["__call__"] for base in target.__mro__ if "__call__" in vars(base)), None)
    if least == 1 and call is not None and _is_async(call):
        return "asgi2"
    remedy = "name an instance of it" + (", or add --factory, which makes one" if least == 0 else "")
    if call is None:
        remedy = _KINDS
    raise AppError(f"{_named(target)} is a class but no Web, no Service, and not called for each request: {remedy}")


# ---------------------------------------------------------------- words of messages


def _named(target: Any) -> str:
    """Return the name of `target` for a message."""
    from types import ModuleType

    if isinstance(target, ModuleType):
        return f"the module {target.__name__}"
    name = getattr(target, "__qualname__", None)
    if isinstance(name, str):
        return name
    if isinstance(target, str | bytes | int | float | None):
        return ascii(target)[:60]
    return f"an instance of {type(target).__module__}.{type(target).__qualname__}"


def _list(parameters: _Parameters) -> str:
    names = [*parameters.names, *(["*args"] if parameters.most == _ANY else [])]
    return ", ".join(names) or "no arguments"


def _not_callable(target: Any) -> str:
    if isinstance(target, Service):
        return f"{_named(target)} is made already: name the class, of which each connection gets an instance"
    return f"{_named(target)} cannot be served; {_KINDS}"
