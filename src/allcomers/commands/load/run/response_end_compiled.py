"""The generator's compiled part, where it is (`_wire.pyx`): answers cut out of bytes, and the pen that counts them.

Its callers ask `COMPILED` first and go on in plain Python where it is False. `ALLCOMERS_PURE=1` leaves it alone.
"""

from __future__ import annotations

import os

COMPILED = False
try:
    if not os.environ.get("ALLCOMERS_PURE"):
        from allcomers.commands.load.run._response_end import Recorder as Recorder
        from allcomers.commands.load.run._response_end import cut as cut

        COMPILED = True
except ImportError:  # no compiler was at hand when this was installed
    pass
