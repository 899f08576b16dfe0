"""python -m allcomers"""

from allcomers.commands.main import main

raise SystemExit(main())
