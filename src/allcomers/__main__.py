"""python -m allcomers"""

from allcomers.cli import main

raise SystemExit(main())
