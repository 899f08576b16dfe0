"""python -m allcomers"""

import sys

if not sys.flags.safe_path:
    del sys.path[0]  # the current folder: none of its modules is imported here, perhaps as root; a worker adds it again

from allcomers.commands.main import main

raise SystemExit(main())
