"""The generator's compiled part, if there is one (`_response_end.pyx`): responses cut out of bytes, and their recorder.

Callers check `COMPILED` and use plain Python if it is False. `ALLCOMERS_PURE=1` disables it.
"""

from __future__ import annotations

import os

COMPILED = False
try:
    if not os.environ.get("ALLCOMERS_PURE"):
        from allcomers.commands.load.run._response_end import Recorder as Recorder
        from allcomers.commands.load.run._response_end import cut as cut

        COMPILED = True
except ImportError:  # there was no compiler when this was installed
    pass
