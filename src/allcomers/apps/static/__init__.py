"""Serve a folder of files: find them, choose a coding, evaluate conditions and ranges."""
