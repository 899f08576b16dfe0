"""The compiled leaf, where it is: what each HTTP request pays most for, in C (`_leaf.pyx`).

Its callers ask `COMPILED` first and go on in plain Python where it is False, or where the leaf leaves a case to them.
`ALLCOMERS_PURE=1` in the environment leaves it alone.
"""

from __future__ import annotations

import os

COMPILED = False
try:
    if not os.environ.get("ALLCOMERS_PURE"):
        from allcomers.protocol._leaf import Page as Page
        from allcomers.protocol._leaf import add_to_environ as add_to_environ
        from allcomers.protocol._leaf import plan as plan
        from allcomers.protocol._leaf import read_head as read_head
        from allcomers.protocol._leaf import scope_headers as scope_headers
        from allcomers.protocol._leaf import split as split

        COMPILED = True
except ImportError:  # no compiler was at hand when this was installed
    pass

KIND = "compiled" if COMPILED else "plain Python"
