"""All that workers write down for the admin's process beside their figures."""

from __future__ import annotations

from typing import NamedTuple

from allcomers.system.diagnostics.error_board import ErrorBoard
from allcomers.system.diagnostics.route_board import RouteBoard


class DiagnosticBoard(NamedTuple):
    """Make it before the first fork, in the process that forks.

    errors   the last errors; None where others than this machine could read them
    routes   counts by route; None where nobody wants them
    sockets  the folder of the sockets at which workers show their stacks; "" where they show none
    """

    errors: ErrorBoard | None
    routes: RouteBoard | None
    sockets: str
