"""`serve` and `run`: from options to a job for the supervisor; `--check-config` and `--print-config`."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from allcomers.commands.parser import _files, _here, _parser, _settle, _tell
from allcomers.config import sources
from allcomers.errors import ConfigError, OperatorError
from allcomers.server import error_log

if TYPE_CHECKING:
    from allcomers.config.sources import Settings
    from allcomers.server.worker import Job


def _complain(error: OperatorError) -> int:
    from allcomers.server.worker import complain

    complain(error)
    return error.exit_code


def _serve(arguments: list[str]) -> int:
    if "--help-all" in arguments:
        _parser(arguments[0], everything=True).print_help()
        return 0
    start = _here()
    asked, found = _settle(arguments, start, _tell)
    for note in found.notes:
        _tell(note)
    if asked["print_config"]:
        sys.stdout.write(sources.to_toml(found))
        return 0
    error_log.setup(found.config.log_level)
    job = _job(found)._replace(files=_files(asked))
    if asked["check_config"]:
        return _check(found, job)
    from allcomers.server.supervisor.supervisor import Supervisor

    return Supervisor(job, renew=partial(_renew, arguments, start), start=start).run()


def _job(found: Settings) -> Job:
    """What to serve and how. Raises ConfigError."""
    config, own = found.config, found.own
    if found.command == "run" and not own["target"]:
        raise ConfigError("TARGET is missing: MODULE:NAME or FILE.py:NAME (see allcomers run --help)")
    if config.chdir:
        config = config._replace(chdir=_here())  # where we are: so that to enter it again changes nothing
    if config.admin:
        from allcomers.server.admin import allowed_hosts

        allowed_hosts.check(config.admin, config.admin_hosts)
    from allcomers import models
    from allcomers.server.worker import Job

    if config.model:
        models.get(config.model).load()
    load = partial(_site, own) if found.command == "serve" else partial(_target, own["target"])
    if found.command == "serve":
        load()  # a bad folder is told at once
    return Job(config=config, load=load)


def _renew(arguments: list[str], start: str) -> Job:
    """The job as files, environment and flags have it now. Raises OperatorError, and then nothing has changed."""
    before = _here()
    try:
        return _job(_settle(arguments, start, lambda line: None)[1])
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


def _check(found: Settings, job: Job) -> int:
    """Load what is to be served as a worker would, in a process of its own: an app may leave threads behind."""
    from allcomers.system.sockets import Bind

    for text in job.config.bind:
        Bind(text)
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = _load(found, job)
        except OperatorError as error:
            status = _complain(error)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            with suppress(BaseException):
                sys.stdout.flush()
            os._exit(status)
    _, ended = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(ended)
    if code < 0:
        _tell(f"the process that loaded it was ended by signal {-code}")
    return code if code >= 0 else 1


def _load(found: Settings, job: Job) -> int:
    from allcomers import models
    from allcomers.server.endpoint import endpoint
    from allcomers.server.worker import become_worker

    config = job.config
    keys = become_worker(config)
    served = endpoint(job.load(), config, None, keys)
    error_log.settle_root()
    model = config.model or ("asyncio" if served.is_async else models.best())
    workers = "1 worker" if config.workers == 1 else f"{config.workers} workers"
    what = found.own.get("target") or found.own["dir"]
    where = ", ".join(config.bind)
    print(f"OK: {what} as {served.scheme} on {where}: {workers}, {model}, calls {served.calls}")
    return 0
