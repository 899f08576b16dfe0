"""`allcomers doctor`: read the options of `run`, examine, print the report."""

from __future__ import annotations

import sys
from typing import Final

from allcomers.commands import doctor
from allcomers.commands.arguments import print_help
from allcomers.commands.doctor import report as reports
from allcomers.commands.output import report
from allcomers.commands.parser import current_folder, read_settings
from allcomers.server import error_log

HELP: Final = """\
usage: allcomers doctor [TARGET] [OPTIONS]

Check this system, the options and the app for problems; print each with its
remedy. No server is started.

TARGET and OPTIONS are those of `allcomers run`; files and the environment are
read too. With TARGET, the app is loaded in a process of its own and checked.

  --json         print the report as a JSON object

Ends with 1 if something will fail, else with 0.
"""


def main(arguments: list[str]) -> int:
    """Print the report; return 1 if something will fail, else 0. Raises ConfigError."""
    if "-h" in arguments or "--help" in arguments:
        print_help(HELP)
        return 0
    options = [word for word in arguments if word != "--json"]
    _, settings = read_settings("run", options, current_folder(), report)
    for note in settings.notes:
        report(note)
    error_log.setup(settings.config.log_level)
    diagnosis = doctor.examine(settings.config, settings.own["target"], settings.paths)
    if diagnosis.facts.app:
        sys.stderr.write(diagnosis.facts.app.traceback)
    print(reports.as_json(diagnosis) if "--json" in arguments else reports.text(diagnosis, sys.stdout))
    return int(diagnosis.will_fail)
