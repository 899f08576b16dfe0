"""`python clients.py NAME URL`: do what the users of an application do, with the clients that they use.

Runs in the environment of the applications. For each thing done a line of JSON: {"check": its name, "error": why it
failed, or null}. A check is a function below whose name begins with that of its application.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import queue
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

PATIENCE = 10.0
"""Seconds for anything that a user waits for."""

CONTENT = bytes(range(256)) * 12_000
"""What is uploaded: 3 MB."""

SHA256 = hashlib.sha256(CONTENT).hexdigest()


def client(url: str, **options: Any) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=PATIENCE, trust_env=False, **options)


def equal(found: Any, wanted: Any) -> None:
    if found != wanted:
        raise AssertionError(f"{str(found)[:120]!r} instead of {str(wanted)[:120]!r}")


def until(condition: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain: {what}")
        time.sleep(0.02)
    return found


# ---------------------------------------------------------------- what several do


def upload(url: str, path: str = "/upload", field: str = "file") -> None:
    with client(url) as http:
        answer = http.post(path, files={field: ("data.bin", CONTENT, "application/octet-stream")})
        equal(answer.status_code // 100, 2)
        equal(answer.json()["sha256"], SHA256)


def gzipped(url: str, path: str) -> None:
    with client(url, headers={"Accept-Encoding": "gzip"}) as http:
        answer = http.get(path)
        equal(answer.headers.get("content-encoding"), "gzip")
        equal(answer.text, "a line of text\n" * 1000)


def in_pieces(url: str, path: str, count: int) -> None:
    """The pieces come one after another, as the app makes them: within 80 ms or more."""
    times = []
    with client(url) as http, http.stream("GET", path) as answer:
        text = ""
        for piece in answer.iter_text():
            times.append(time.monotonic())
            text += piece
    equal(text.count("\n"), count)
    if times[-1] - times[0] < 0.04:
        raise AssertionError("it came all at once")


def events(url: str, path: str) -> None:
    """Three events of a stream that then is quiet; the client leaves, and the server goes on."""
    with client(url) as http, http.stream("GET", path) as answer:
        equal(answer.status_code, 200)
        equal(answer.headers["content-type"].split(";")[0], "text/event-stream")
        seen = []
        for line in answer.iter_lines():
            if line.startswith("data:"):
                seen.append(line.removeprefix("data:").strip())
            if len(seen) == 3:
                break
        equal(seen, ["0", "1", "2"])
    with client(url) as http:
        equal(http.get("/version").status_code, 200)


def visits(url: str, path: str = "/visits") -> None:
    with client(url) as http:
        for number in (1, 2, 3):
            equal(http.get(path).json()["visits"], number)


@contextmanager
def websocket(url: str, path: str, **options: Any) -> Iterator[Any]:
    from websockets.sync.client import connect

    with connect(url.replace("http", "ws", 1) + path, open_timeout=PATIENCE, close_timeout=PATIENCE, **options) as ws:
        yield ws


def echo(url: str, path: str = "/echo") -> None:
    with websocket(url, path, max_size=None) as ws:
        for text in ("short", "é" * 1000, "x" * 1_000_000):
            ws.send(text)
            equal(ws.recv(PATIENCE), text)


def says_hello(url: str, path: str = "/hello") -> None:
    """An app that accepts, sends and is over: its message comes, then the end."""
    from websockets.exceptions import ConnectionClosed

    with websocket(url, path) as ws:
        equal(ws.recv(PATIENCE), "hello")
        try:
            ws.recv(PATIENCE)
        except ConnectionClosed:
            return
    raise AssertionError("it is open still")


def refused(url: str, path: str, status: int, body: str = "") -> None:
    from websockets.exceptions import InvalidStatus

    try:
        with websocket(url, path):
            raise AssertionError("it was accepted")
    except InvalidStatus as error:
        equal(error.response.status_code, status)
        if body and body not in bytes(error.response.body or b"").decode():
            raise AssertionError(f"{error.response.body!r} instead of {body!r}") from None


@contextmanager
def page(url: str, path: str) -> Iterator[Any]:
    """A page in Chromium, which must have met no failed request of the server when the block ends."""
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]
    failed: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
        shown = browser.new_page()
        shown.set_default_timeout(4 * PATIENCE * 1000)
        shown.route(lambda address: not address.startswith(url), lambda route: route.abort())  # fonts of others

        def note(answer: Any) -> None:
            if answer.status >= 400 and answer.url.startswith(url):
                failed.append(f"{answer.status} {answer.url}")

        def cut(request: Any) -> None:
            if request.url.startswith(url) and "ERR_ABORTED" not in (request.failure or ""):
                failed.append(f"{request.failure} {request.url}")

        shown.on("response", note)
        shown.on("requestfailed", cut)
        shown.goto(url + path)
        yield shown
        browser.close()
    if failed:
        raise AssertionError("; ".join(failed[:3]))


# ---------------------------------------------------------------- FastAPI


def fastapi_state(url: str) -> None:
    with client(url) as http:
        equal(http.get("/state").json()["started"], "yes")


def fastapi_upload(url: str) -> None:
    upload(url)


def fastapi_background(url: str) -> None:
    with client(url) as http:
        equal(http.post("/task").status_code, 200)
        until(lambda: "task" in http.get("/state").json()["done"], "the background task")


def fastapi_dependency(url: str) -> None:
    with client(url) as http:
        equal(http.get("/private").status_code, 401)
        equal(http.get("/private", headers={"Authorization": "Bearer x"}).json(), "Bearer x")


def fastapi_docs(url: str) -> None:
    with client(url) as http:
        equal(http.get("/docs").status_code, 200)
        equal("/upload" in http.get("/openapi.json").json()["paths"], True)


def fastapi_events(url: str) -> None:
    events(url, "/events")


def fastapi_quiet(url: str) -> None:
    """The head of a stream is there though its first event is not."""
    with client(url) as http, http.stream("GET", "/quiet", timeout=3.0) as answer:
        equal(answer.status_code, 200)


def fastapi_echo(url: str) -> None:
    echo(url)


def fastapi_broadcast(url: str) -> None:
    with websocket(url, "/room") as one, websocket(url, "/room") as two:
        one.send("first")
        equal(one.recv(PATIENCE), "first")
        until(lambda: (one.send("both"), _soon(two) == "both")[1], "both have it")


def _soon(ws: Any) -> Any:
    try:
        return ws.recv(0.2)
    except TimeoutError:
        return None


def fastapi_denied(url: str) -> None:
    refused(url, "/denied", 401, "no token")


def fastapi_hello(url: str) -> None:
    says_hello(url)


def fastapi_unknown_websocket(url: str) -> None:
    refused(url, "/nowhere", 403)


# ---------------------------------------------------------------- Starlette


def starlette_session(url: str) -> None:
    visits(url)


def starlette_gzip(url: str) -> None:
    gzipped(url, "/text")


def starlette_cors(url: str) -> None:
    asked = {"Origin": "https://example.org", "Access-Control-Request-Method": "PUT"}
    with client(url) as http:
        answer = http.options("/text", headers=asked)
        equal(answer.headers["access-control-allow-origin"], "https://example.org")


def starlette_trusted_host(url: str) -> None:
    with client(url) as http:
        equal(http.get("/version", headers={"Host": "evil.example"}).status_code, 400)


def starlette_static(url: str) -> None:
    with client(url) as http:
        answer = http.get("/static/page.js")
        equal(answer.text, "// a script\n" * 2000)
        again = http.get("/static/page.js", headers={"If-None-Match": answer.headers["etag"]})
        equal(again.status_code, 304)


def starlette_download(url: str) -> None:
    with client(url, headers={"Accept-Encoding": "identity"}) as http:
        equal(http.get("/download").content, bytes(range(256)) * 8192)
        part = http.get("/download", headers={"Range": "bytes=256-511"})
        equal((part.status_code, part.content), (206, bytes(range(256))))


def starlette_stream(url: str) -> None:
    in_pieces(url, "/stream", 20)


def starlette_middleware(url: str) -> None:
    with client(url) as http:
        equal(http.get("/version").headers["x-app"], "timed")


def starlette_background(url: str) -> None:
    with client(url) as http:
        equal(http.get("/background").text, "soon")
        until(lambda: http.get("/done").json(), "the background task")


def starlette_error(url: str) -> None:
    with client(url) as http:
        equal(http.get("/fails").status_code, 500)
        equal(http.get("/version").status_code, 200)


def starlette_echo(url: str) -> None:
    echo(url)


# ---------------------------------------------------------------- Quart


def quart_before_serving(url: str) -> None:
    with client(url) as http:
        equal(http.get("/state").json()["started"], ["yes"])


def quart_upload(url: str) -> None:
    upload(url)


def quart_body(url: str) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 10_000

    with client(url) as http:
        equal(http.post("/body", content=pieces()).json()["size"], 1_000_000)


def quart_session(url: str) -> None:
    visits(url)


def quart_events(url: str) -> None:
    events(url, "/events")


def quart_echo(url: str) -> None:
    echo(url)


def quart_hello(url: str) -> None:
    says_hello(url)


def quart_denied(url: str) -> None:
    refused(url, "/denied", 401)


# ---------------------------------------------------------------- Litestar


def litestar_state(url: str) -> None:
    with client(url) as http:
        equal(http.get("/state").json()["started"], "yes")


def litestar_items(url: str) -> None:
    with client(url) as http:
        equal(http.post("/items", json={"name": "tea", "price": 2.5}).json(), {"name": "TEA", "price": 5.0})
        equal(http.post("/items", json={"name": "tea"}).status_code, 400)


def litestar_upload(url: str) -> None:
    upload(url, field="data")


def litestar_gzip(url: str) -> None:
    gzipped(url, "/text")


def litestar_thread(url: str) -> None:
    with client(url) as http:
        equal(http.get("/threaded").text, "threaded")


def litestar_stream(url: str) -> None:
    in_pieces(url, "/stream", 20)


def litestar_events(url: str) -> None:
    events(url, "/events")


def litestar_echo(url: str) -> None:
    echo(url)


# ---------------------------------------------------------------- Django with Channels


def django_orm(url: str) -> None:
    with client(url) as http:
        equal(http.post("/notes", data={"text": "bread"}).json()["notes"][0], "bread")
        equal("bread" in http.get("/notes").json()["notes"], True)


def django_upload(url: str) -> None:
    upload(url)


def django_session(url: str) -> None:
    visits(url)


def django_admin(url: str) -> None:
    with client(url, follow_redirects=True) as http:
        form = http.get("/admin/login/")
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form.text)
        assert token, "the form has no token"
        data = {"username": "admin", "password": "secret", "csrfmiddlewaretoken": token[1], "next": "/admin/"}
        answer = http.post("/admin/login/", data=data, headers={"Referer": url + "/admin/login/"})
        equal("Site administration" in answer.text, True)
        equal(http.get("/admin/notes/note/").status_code, 200)


def django_static(url: str) -> None:
    with client(url) as http:
        answer = http.get("/static/admin/css/base.css")
        equal(answer.status_code, 200)
        equal(len(answer.content) > 10_000, True)


def django_admin_in_chromium(url: str) -> None:
    with page(url, "/admin/") as shown:
        shown.fill("#id_username", "admin")
        shown.fill("#id_password", "secret")
        shown.click("input[type=submit]")
        shown.wait_for_selector("#site-name")
        shown.click("#notes-note a")
        shown.wait_for_selector("#changelist")


def django_events(url: str) -> None:
    events(url, "/events")


def django_room(url: str) -> None:
    with websocket(url, "/room") as one, websocket(url, "/room") as two:
        two.send(json.dumps({"text": "hello"}))
        equal(json.loads(two.recv(PATIENCE))["text"], "hello")
        equal(json.loads(one.recv(PATIENCE))["text"], "hello")


def django_echo(url: str) -> None:
    echo(url)


def django_refused(url: str) -> None:
    refused(url, "/refused", 403)


# ---------------------------------------------------------------- Gradio


def gradio_client(url: str) -> None:
    from gradio_client import Client

    found = Client(url + "/ui", verbose=False)
    equal(found.predict("Ada", api_name="/greet"), "Hello, Ada!")
    job = found.submit("Ada", api_name="/count")
    equal(job.result(timeout=PATIENCE), "Ada 3")
    equal(job.outputs()[0], "Ada 1")


def gradio_upload(url: str) -> None:
    from gradio_client import Client, handle_file

    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        file.write(CONTENT)
        file.flush()
        found = Client(url + "/ui", verbose=False)
        equal(found.predict(handle_file(file.name), api_name="/size"), f"{len(CONTENT)} bytes")


def gradio_brotli(url: str) -> None:
    """The page's scripts as a browser asks for them, by name and with br."""
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


def gradio_in_chromium(url: str) -> None:
    with page(url, "/ui/") as shown:
        shown.get_by_label("Name").fill("Ada")
        shown.get_by_role("button", name="Greet").click()
        shown.wait_for_function("[...document.querySelectorAll('textarea,input')].some(e => e.value == 'Hello, Ada!')")
        shown.get_by_role("button", name="Count").click()
        shown.wait_for_function("[...document.querySelectorAll('textarea,input')].some(e => e.value == 'Ada 3')")


# ---------------------------------------------------------------- NiceGUI


def nicegui_page(url: str) -> None:
    with client(url) as http:
        equal(http.get("/ui/").status_code, 200)


def nicegui_in_chromium(url: str) -> None:
    with page(url, "/ui/") as shown:
        shown.wait_for_function("document.querySelector('#ticks').textContent.includes('ticked')")
        for number in ("1", "2"):
            shown.click("#add")
            shown.wait_for_function(f"document.querySelector('#counter').textContent.trim() == '{number}'")
        shown.fill("input", "Ada")
        shown.wait_for_function("document.querySelector('#greeting').textContent.includes('Hello, Ada!')")


def nicegui_in_two_pages(url: str) -> None:
    """Each has a state of its own."""
    with page(url, "/ui/") as one:
        two = one.context.browser.new_context().new_page()
        two.goto(url + "/ui/")
        one.wait_for_function("document.querySelector('#ticks').textContent.includes('ticked')")
        one.click("#add")
        one.wait_for_function("document.querySelector('#counter').textContent.trim() == '1'")
        equal(two.text_content("#counter").strip(), "0")


# ---------------------------------------------------------------- Flask-SocketIO


@contextmanager
def socketio(url: str, transports: list[str]) -> Iterator[Any]:
    import socketio as library

    found = library.Client(reconnection=False)
    found.connect(url, transports=transports, wait_timeout=PATIENCE)
    try:
        yield found
    finally:
        found.disconnect()


def _talk(url: str, transports: list[str]) -> None:
    with socketio(url, transports) as one, socketio(url, transports) as two:
        equal(one.transport(), transports[-1])
        equal(one.call("add", [1, 2, 3], timeout=PATIENCE), 6)
        equal(one.call("bytes", b"abc", timeout=PATIENCE), b"cba")
        said: queue.Queue[str] = queue.Queue()
        two.on("said", said.put)
        equal(two.call("join", "hall", timeout=PATIENCE), "joined")
        one.emit("say", {"room": "hall", "text": "hello"})
        equal(said.get(timeout=PATIENCE), "hello")
        numbers: queue.Queue[int] = queue.Queue()
        one.on("number", numbers.put)
        one.emit("count", 5)
        equal([numbers.get(timeout=PATIENCE) for _ in range(5)], [0, 1, 2, 3, 4])


def socketio_polling(url: str) -> None:
    _talk(url, ["polling"])


def socketio_websocket(url: str) -> None:
    _talk(url, ["websocket"])


def socketio_upgrade(url: str) -> None:
    import socketio as library

    found = library.Client(reconnection=False)
    found.connect(url, wait_timeout=PATIENCE)
    try:
        equal(found.transport(), "websocket")
        equal(found.call("add", [1, 2], timeout=PATIENCE), 3)
    finally:
        found.disconnect()


def socketio_many(url: str) -> None:
    """Forty clients by WebSocket at once, more than there are call threads; and a plain request beside them."""
    import socketio as library

    found = [library.Client(reconnection=False) for _ in range(40)]
    try:
        for one in found:
            one.connect(url, transports=["websocket"], wait_timeout=PATIENCE)
        equal([one.call("add", [1, 1], timeout=PATIENCE) for one in found], [2] * 40)
        with client(url) as http:
            equal(http.get("/version").status_code, 200)
    finally:
        for one in found:
            one.disconnect()


def socketio_upload(url: str) -> None:
    with client(url) as http:
        equal(http.post("/upload", files={"file": ("x", CONTENT)}).json()["size"], len(CONTENT))


# ---------------------------------------------------------------- Bottle


def _many(ask: Callable[[], None], threads: int = 12, each: int = 5) -> None:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            for _ in range(each):
                ask()
        except BaseException as error:
            errors.append(error)

    started = [threading.Thread(target=run) for _ in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    if errors:
        raise AssertionError(f"{len(errors)} of {threads} threads failed: {type(errors[0]).__name__}: {errors[0]}")


def bottle_stream(url: str) -> None:
    wanted = "".join(f"{number} /stream that\n" for number in range(5))

    def ask() -> None:
        with client(url) as http:
            equal(http.get("/stream?of=that").text, wanted)

    _many(ask)


def bottle_rows(url: str) -> None:
    def ask() -> None:
        with client(url) as http:
            equal(http.get("/rows").text, "0\n1\n2\n3\n4\n")

    _many(ask)


def bottle_in_pieces(url: str) -> None:
    in_pieces(url, "/stream", 5)


def bottle_upload(url: str) -> None:
    upload(url)


def bottle_file(url: str) -> None:
    with client(url) as http:
        equal(http.get("/files/large.bin").content, bytes(range(256)) * 8192)
        part = http.get("/files/large.bin", headers={"Range": "bytes=256-511"})
        equal((part.status_code, part.content), (206, bytes(range(256))))


def bottle_error(url: str) -> None:
    with client(url) as http:
        equal(http.get("/fails").status_code, 500)
        equal(http.get("/version").text, "one")


# ---------------------------------------------------------------- MCP


def _mcp(run: Callable[[Any], Any], url: str) -> None:
    from mcp import Client

    async def connected() -> None:
        async with asyncio.timeout(2 * PATIENCE), Client(url + "/mcp") as found:
            await run(found)

    asyncio.run(connected())


def mcp_tools(url: str) -> None:
    async def run(found: Any) -> None:
        equal({tool.name for tool in (await found.list_tools()).tools}, {"add", "count", "wait"})
        answer = await found.call_tool("add", {"a": 1, "b": 2})
        equal(answer.content[0].text, "3")

    _mcp(run, url)


def mcp_progress(url: str) -> None:
    async def run(found: Any) -> None:
        seen: list[float] = []

        async def progress(now: float, total: float | None, message: str | None) -> None:
            seen.append(now)

        answer = await found.call_tool("count", {"most": 3}, progress_callback=progress)
        equal(answer.content[0].text, "counted")
        equal(seen, [1, 2, 3])

    _mcp(run, url)


def mcp_resources(url: str) -> None:
    async def run(found: Any) -> None:
        equal((await found.read_resource("greeting://Ada")).contents[0].text, "Hello, Ada!")
        answer = await found.get_prompt("review", {"code": "x = 1"})
        equal("x = 1" in answer.messages[0].content.text, True)

    _mcp(run, url)


def mcp_at_once(url: str) -> None:
    async def run(found: Any) -> None:
        answers = await asyncio.gather(*(found.call_tool("wait", {"seconds": 0.2}) for _ in range(10)))
        equal([answer.content[0].text for answer in answers], ["waited"] * 10)

    _mcp(run, url)


def mcp_stateful(url: str) -> None:
    """A session as clients before 2026 have it, with a stream of the server's own messages that stays quiet."""
    from mcp import Client

    async def connected() -> None:
        async with asyncio.timeout(2 * PATIENCE), Client(url + "/mcp", mode="legacy") as found:
            answer = await found.call_tool("add", {"a": 2, "b": 2})
            equal(answer.content[0].text, "4")

    asyncio.run(connected())


# ---------------------------------------------------------------- all of one


def main(name: str, url: str) -> None:
    for key, check in list(globals().items()):
        if not key.startswith(name + "_") or not callable(check):
            continue
        try:
            check(url)
            error = None
        except BaseException as raised:
            error = f"{type(raised).__name__}: {raised}".splitlines()[0][:300]
        print(json.dumps({"check": key.removeprefix(name + "_"), "error": error}), flush=True)
    os._exit(0)  # clients' threads that still run would keep the process


if __name__ == "__main__":
    main(*sys.argv[1:])
