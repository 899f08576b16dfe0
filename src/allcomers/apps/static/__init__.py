"""Serve a folder of files: find them, choose among their forms, answer conditions and ranges."""
