"""`serve` and `run`: from options to a job for the supervisor; `--check-config` and `--print-config`."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from allcomers.commands.arguments import print_help
from allcomers.commands.output import report, report_error
from allcomers.commands.parser import config_files, current_folder, print_all_options, read_settings
from allcomers.config import sources
from allcomers.config.options import addresses
from allcomers.errors import ConfigError, OperatorError
from allcomers.server import error_log
from allcomers.system.memory.collector import paused
from allcomers.system.native import primitives

if TYPE_CHECKING:
    from collections.abc import Sequence

    from allcomers.config.sources import Settings
    from allcomers.server.job import Job


_logger = logging.getLogger("allcomers.supervisor")


def serve(arguments: list[str]) -> int:
    """Serve a folder until a signal ends it; return the exit status. Raises OperatorError."""
    return _main("serve", arguments)


def run(arguments: list[str]) -> int:
    """Serve an app until a signal ends it; return the exit status. Raises OperatorError."""
    return _main("run", arguments)


_DEV: Final = ("--reload", "--debug", "--workers", "1")

_DEV_HELP: Final = """\
usage: allcomers dev TARGET [OPTIONS]

Serve an app while you write it: `allcomers run` with one worker, --reload and
--debug, so for this machine alone. It has all options of `allcomers run`;
--no-reload and --no-debug leave one of these out. --tls is --tls-self-signed:
HTTPS with a certificate that is made here.
"""


def dev(arguments: list[str]) -> int:
    """Serve an app for its developer until a signal ends it; return the exit status. Raises OperatorError."""
    if "-h" in arguments or "--help" in arguments:
        print_help(_DEV_HELP)
        return 0
    return _main("run", [*_DEV, *("--tls-self-signed" if word == "--tls" else word for word in arguments)])


def gunicorn(arguments: list[str]) -> int:
    """Serve as gunicorn's command line, file and variables say; return the exit status. Raises OperatorError."""
    return _main("run", arguments, "gunicorn")


def uvicorn(arguments: list[str]) -> int:
    """Serve as uvicorn's command line and variables say; return the exit status. Raises OperatorError."""
    return _main("run", arguments, "uvicorn")


def _main(command: str, arguments: list[str], mover: str = "") -> int:
    if "--help-all" in arguments:
        print_all_options(command)
        return 0
    if not primitives.are_native():
        raise ConfigError(
            "gevent has patched Python before the server was loaded: start allcomers itself, and name --model gevent"
        )
    start = current_folder()
    parsed, settings = read_settings(command, arguments, start, report, mover)
    for note in settings.notes:
        report(note)
    if parsed["print_config"]:
        sys.stdout.write(sources.to_toml(settings))
        return 0
    error_log.setup(*settings.config.log_form)
    job = _job(settings)._replace(files=config_files(parsed))
    if parsed["check_config"]:
        return _check(settings, job)
    with paused():
        from allcomers.server.supervisor.supervisor import Supervisor
        from allcomers.system.processes import title

    title.name_process(title.SUPERVISOR)
    return Supervisor(job, renew=partial(_renew, command, arguments, start, mover), start=start).run()


def _job(settings: Settings) -> Job:
    """Return the job that `settings` describe. Raises ConfigError."""
    config, own = settings.config, settings.own
    if settings.command == "run" and not own["target"]:
        raise ConfigError("TARGET is missing: MODULE:NAME or FILE.py:NAME (see allcomers run --help)")
    if config.admin:
        from allcomers.server.admin import allowed_hosts

        allowed_hosts.check(config.admin, config.admin_hosts)
    from allcomers import models
    from allcomers.server.hooks.hooks import LifeHooks
    from allcomers.server.job import Job

    if config.model:
        models.get(config.model).check()
    load = partial(_site, own) if settings.command == "serve" else partial(_target, own["target"], settings.paths)
    if settings.command == "serve":
        load()  # reports a bad folder before a worker starts
        return Job(config=config, load=load, name=own["dir"], kind="a site")
    hooks = LifeHooks(config, settings.paths)
    if settings.hooks is not None:
        from allcomers.server.hooks.gunicorn import GunicornHooks

        hooks = GunicornHooks(config, settings.paths, *settings.hooks)
    return Job(config=config, load=load, hooks=hooks, name=own["target"])


def _renew(command: str, arguments: list[str], start: str, mover: str) -> Job:
    """Return the job by the files, the environment and the flags as they are now.

    Raises OperatorError; the process is then in the folder that it was in before.
    """
    try:
        before = os.open(".", getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:  # no descriptor is left
        raise ConfigError(f"the options cannot be read: {error.strerror}") from None
    try:
        job = _job(read_settings(command, arguments, start, lambda line: None, mover)[1])
        if not os.path.samestat(os.fstat(before), os.stat(".")):  # noqa: PTH116
            _logger.info("the current folder is now %s", os.getcwd())  # noqa: PTH109
        return job
    except BaseException:
        os.fchdir(before)
        raise
    finally:
        os.close(before)


def _site(own: dict[str, Any]) -> Any:
    from allcomers.apps.static.site import Site

    return Site(
        own["dir"],
        listing=own["list"],
        cache_control=own["cache_control"] or None,
        follow_links=own["follow_links"],
    )


def _target(name: str, paths: Sequence[str]) -> Any:
    from allcomers.apps import loading

    return loading.load(name, paths)


def _check(settings: Settings, job: Job) -> int:
    """Load the app as a worker would, in a process of its own, because it may leave threads; return the exit status."""
    from allcomers.system.sockets import Bind

    for text in addresses(job.config):
        Bind(text)
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = _load(settings, job)
        except OperatorError as error:
            status = report_error(error)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            with suppress(BaseException):
                sys.stdout.flush()
            os._exit(status)
    _, ended = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(ended)
    if code < 0:
        report(f"the process that loaded it was ended by signal {-code}")
    return code if code >= 0 else 1


def _load(settings: Settings, job: Job) -> int:
    from allcomers import models
    from allcomers.server.endpoint import endpoint, settle_patches
    from allcomers.server.worker import become_worker

    config = job.config
    keys = become_worker(config)
    models.get(config.model or models.best()).prepare()
    served = endpoint(job.load(), config, None, keys)
    settle_patches(config, served)
    error_log.settle_root()
    model = config.model or ("asyncio" if served.is_async else models.best())
    workers = "1 worker" if config.workers == 1 else f"{config.workers} workers"
    name = settings.own.get("target") or settings.own["dir"]
    names = ", ".join(addresses(config))
    print(f"OK: {name} as {served.scheme} on {names}: {workers}, {model}, calls {served.calls}")
    return 0
