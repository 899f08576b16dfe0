"""Lines for the operator, on standard error: what every command reports in the same form."""

from __future__ import annotations

from allcomers.errors import OperatorError
from allcomers.server.error_log import announce, complain


def report(line: str) -> None:
    """Print a line on standard error, after the program's name."""
    announce(f"allcomers: {line}\n")


def report_error(error: OperatorError) -> int:
    """Print one line that names the mistake, after the app's own traceback if there is one; return the exit status."""
    complain(error)
    return error.exit_code
