"""`allcomers completions`: scripts for shells; and the flags of all commands, for them and for the man page."""
