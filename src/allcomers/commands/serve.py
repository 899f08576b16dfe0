"""`serve` and `run`: from options to a job for the supervisor; `--check-config` and `--print-config`."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from allcomers.commands.output import report, report_error
from allcomers.commands.parser import config_files, current_folder, print_all_options, read_settings
from allcomers.config import sources
from allcomers.errors import ConfigError, OperatorError
from allcomers.server import error_log

if TYPE_CHECKING:
    from allcomers.config.sources import Settings
    from allcomers.server.worker import Job


def serve(arguments: list[str]) -> int:
    """Serve a folder until a signal ends it; return the exit status. Raises OperatorError."""
    return _main("serve", arguments)


def run(arguments: list[str]) -> int:
    """Serve an app until a signal ends it; return the exit status. Raises OperatorError."""
    return _main("run", arguments)


def _main(command: str, arguments: list[str]) -> int:
    if "--help-all" in arguments:
        print_all_options(command)
        return 0
    start = current_folder()
    parsed, settings = read_settings(command, arguments, start, report)
    for note in settings.notes:
        report(note)
    if parsed["print_config"]:
        sys.stdout.write(sources.to_toml(settings))
        return 0
    error_log.setup(settings.config.log_level)
    job = _job(settings)._replace(files=config_files(parsed))
    if parsed["check_config"]:
        return _check(settings, job)
    from allcomers.server.supervisor.supervisor import Supervisor

    return Supervisor(job, renew=partial(_renew, command, arguments, start), start=start).run()


def _job(settings: Settings) -> Job:
    """Return the job that `settings` describe. Raises ConfigError."""
    config, own = settings.config, settings.own
    if settings.command == "run" and not own["target"]:
        raise ConfigError("TARGET is missing: MODULE:NAME or FILE.py:NAME (see allcomers run --help)")
    if config.chdir:
        config = config._replace(chdir=current_folder())  # absolute: a worker can enter it again
    if config.admin:
        from allcomers.server.admin import allowed_hosts

        allowed_hosts.check(config.admin, config.admin_hosts)
    from allcomers import models
    from allcomers.server.worker import Job

    if config.model:
        models.get(config.model).load()
    load = partial(_site, own) if settings.command == "serve" else partial(_target, own["target"])
    if settings.command == "serve":
        load()  # reports a bad folder before a worker starts
    return Job(config=config, load=load)


def _renew(command: str, arguments: list[str], start: str) -> Job:
    """Return the job by the files, the environment and the flags as they are now.

    Raises OperatorError; the process is then in the folder that it was in before.
    """
    before = current_folder()
    try:
        return _job(read_settings(command, arguments, start, lambda line: None)[1])
    except BaseException:
        with suppress(OSError):
            os.chdir(before)
        raise


def _site(own: dict[str, Any]) -> Any:
    from allcomers.apps.static.site import Site

    return Site(
        own["dir"],
        listing=own["list"],
        cache_control=own["cache_control"] or None,
        follow_links=own["follow_links"],
    )


def _target(name: str) -> Any:
    from allcomers.apps import loading

    return loading.load(name)


def _check(settings: Settings, job: Job) -> int:
    """Load the app as a worker would, in a process of its own, because it may leave threads; return the exit status."""
    from allcomers.system.sockets import Bind

    for text in job.config.bind:
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
    from allcomers.server.endpoint import endpoint
    from allcomers.server.worker import become_worker

    config = job.config
    keys = become_worker(config)
    served = endpoint(job.load(), config, None, keys)
    error_log.settle_root()
    model = config.model or ("asyncio" if served.is_async else models.best())
    workers = "1 worker" if config.workers == 1 else f"{config.workers} workers"
    name = settings.own.get("target") or settings.own["dir"]
    addresses = ", ".join(config.bind)
    print(f"OK: {name} as {served.scheme} on {addresses}: {workers}, {model}, calls {served.calls}")
    return 0
