"""Lines for the operator, on standard error: what every command reports in the same form."""

from __future__ import annotations

import sys

from allcomers.errors import OperatorError


def report(line: str) -> None:
    """Print a line on standard error, after the program's name."""
    print(f"allcomers: {line}", file=sys.stderr, flush=True)


def report_error(error: OperatorError) -> int:
    """Print one line that names the mistake, after the app's own traceback if there is one; return the exit status."""
    from allcomers.server.error_log import complain

    complain(error)
    return error.exit_code
