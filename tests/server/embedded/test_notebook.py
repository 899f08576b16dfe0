"""A server in a notebook: in the background, and on the loop that the notebook runs on."""

from __future__ import annotations

import nbformat
from nbclient import NotebookClient

CELLS = (
    """
import asyncio, gc, threading
from pathlib import Path
from urllib.request import urlopen
import allcomers

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]

def descriptors():
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))

def serve_once():
    with allcomers.Server(app, port=0) as server:
        assert urlopen(server.url, timeout=20).read() == b"hello"

serve_once()
before = descriptors()
""",
    """
for _ in range(20):
    serve_once()
""",
    """
for _ in range(10):
    server = allcomers.Server(app, port=0)
    task = asyncio.create_task(server.serve())
    while not server.url:
        await asyncio.sleep(0.001)
    assert await asyncio.to_thread(lambda: urlopen(server.url, timeout=20).read()) == b"hello"
    server.stop(wait=False)
    await task
""",
    """
assert descriptors() < before + 20, "one stays of each server; the kernel has opened some of its own meanwhile"
assert not [thread for thread in threading.enumerate() if thread.name.startswith(("allcomers", "call-"))]
assert not [task for task in asyncio.all_tasks() if "allcomers" in repr(task)]
""",
)


def test_a_notebook_serves_and_nothing_stays() -> None:
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(text) for text in CELLS]
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    assert all(cell.execution_count for cell in notebook.cells)
