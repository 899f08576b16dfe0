"""Checks of the Gradio application."""

from __future__ import annotations

import re
import tempfile

from common import CONTENT, PATIENCE, client, equal, page


def check_client(url: str) -> None:
    from gradio_client import Client

    found = Client(url + "/ui", verbose=False)
    equal(found.predict("Ada", api_name="/greet"), "Hello, Ada!")
    job = found.submit("Ada", api_name="/count")
    equal(job.result(timeout=PATIENCE), "Ada 3")
    equal(job.outputs()[0], "Ada 1")


def check_upload(url: str) -> None:
    from gradio_client import Client, handle_file

    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        file.write(CONTENT)
        file.flush()
        found = Client(url + "/ui", verbose=False)
        equal(found.predict(handle_file(file.name), api_name="/size"), f"{len(CONTENT)} bytes")


def check_brotli(url: str) -> None:
    """Request the page's scripts as a browser does, by name and with br."""
    with client(url, headers={"Accept-Encoding": "br"}, follow_redirects=True) as http:
        shown = http.get("/ui/").text
        scripts = sorted(set(re.findall(r'(?:src|href)="(?:\./|/ui/)?((?:\.?/)?(?:assets|static)/[^"]+)"', shown)))
        assert scripts, "the page names no scripts"
        for script in scripts[:10]:
            answer = http.get("/ui/" + script.removeprefix("./").removeprefix("/"))
            equal(answer.status_code, 200)
            assert answer.content, f"{script} is empty"
            size = answer.headers.get("content-length")
            if size is not None and "content-encoding" not in answer.headers:
                equal(len(answer.content), int(size))


def check_in_chromium(url: str) -> None:
    with page(url, "/ui/") as shown:
        shown.get_by_label("Name").fill("Ada")
        shown.get_by_role("button", name="Greet").click()
        shown.wait_for_function("[...document.querySelectorAll('textarea,input')].some(e => e.value == 'Hello, Ada!')")
        shown.get_by_role("button", name="Count").click()
        shown.wait_for_function("[...document.querySelectorAll('textarea,input')].some(e => e.value == 'Ada 3')")
