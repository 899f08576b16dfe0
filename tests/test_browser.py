"""A real browser, Debian's Chromium, at the example site and the guestbook: whole, without error, under each model."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Response

from support import chromium
from support.harness import ROOT, Server, chosen, serving

SITE = ROOT / "examples" / "site"
MODELS = [
    "process", "thread", "select", "epoll", "asyncio", "iterative", "thread-pool", "poll", "epoll-et",
]  # fmt: skip

pytestmark = chromium.NEEDED


class Visit:
    """A page in a context of its own, so with nothing in its cache, and what went wrong in it."""

    def __init__(self, browser: Browser, server: Server, *, tls: bool = False) -> None:
        self.origin = f"{'https' if tls else 'http'}://{server.address[0]}:{server.address[1]}"
        self.wrong: list[str] = []
        self.answers: list[tuple[int, str]] = []
        self.page: Page = browser.new_context(ignore_https_errors=tls).new_page()
        self.page.set_default_timeout(20_000)
        self.page.on("requestfailed", lambda request: self.wrong.append(f"{request.failure}: {request.url}"))
        self.page.on("console", lambda said: self.wrong.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("response", self._answered)

    def _answered(self, response: Response) -> None:
        self.answers.append((response.status, response.url))
        if response.status >= 400:
            self.wrong.append(f"{response.status}: {response.url}")

    def open(self, path: str) -> None:
        """Load a page with all that it asks for."""
        self.page.goto(f"{self.origin}/{path}", wait_until="load")
        self.settle()

    def settle(self) -> None:
        """Wait until it has all that it asks for, half a second without any request among it."""
        self.page.evaluate("document.fonts.ready")
        self.page.wait_for_load_state("networkidle")

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *error: object) -> None:
        self.page.context.close()


BROKEN_IMAGES = """async () => {
  const images = [...document.images];
  for (const image of images) image.loading = "eager";  // also those that nobody has scrolled to
  const ends = await Promise.allSettled(images.map((image) => image.decode()));
  return images.filter((_, i) => ends[i].status !== "fulfilled").map((image) => image.src);
}"""


def see_every_page(browser: Browser, server: Server, *, tls: bool = False) -> None:
    pages = sorted(page.name for page in SITE.glob("*.html"))
    assert pages
    with ExitStack() as stack:
        visits = {name: stack.enter_context(Visit(browser, server, tls=tls)) for name in ["", *pages]}
        for name, visit in visits.items():
            visit.page.goto(f"{visit.origin}/{name}", wait_until="load")
        for name, visit in visits.items():
            visit.settle()
            assert visit.page.title()
            assert visit.page.evaluate(BROKEN_IMAGES) == []
            assert visit.wrong == []
            assert visit.answers[0] == (200, f"{visit.origin}/{name}")


@pytest.mark.parametrize("model", chosen(["iterative", "process", "thread", "epoll", "asyncio"], MODELS))
def test_every_page_loads_whole(browser: Browser, model: str) -> None:
    with serving("serve", str(SITE), "-m", model) as server:
        see_every_page(browser, server)


def test_every_page_loads_whole_from_workers_with_a_pool(browser: Browser) -> None:
    with serving("serve", str(SITE), "-w", "2", "--calls", "pool") as server:
        see_every_page(browser, server)


@pytest.mark.parametrize("model", chosen(["thread-pool"], ["epoll", "thread-pool"]))
def test_every_page_loads_whole_over_tls(browser: Browser, certificate: Any, model: str) -> None:
    with serving("serve", str(SITE), "-m", model, "--certfile", str(certificate.pem)) as server:
        see_every_page(browser, server, tls=True)


COMPOSED = [
    # what is served, who waits, calls: the command without its target, and what the words must say
    ("wsgi", "epoll", "auto", "--model epoll --workers 2 --calls auto --threads 3", "the loop moves on"),
    ("wsgi", "asyncio", "auto", "--model asyncio --workers 2 --calls auto --threads 3", "from then on a pool"),
    ("asgi", "asyncio", "", "--model asyncio --workers 2", "is a task of that loop"),
    ("asgi", "thread", "", "--model thread --workers 2", "no WebSockets"),
    ("web", "thread-pool", "auto", "--model thread-pool --workers 2 --calls auto --threads 3", "auto is inline here"),
    ("site", "iterative", "inline", "--model iterative --workers 2 --calls inline", "where the bytes were read"),
    ("service", "select", "pool", "--model select --workers 2 --calls pool --threads 3", "a pool of 3 threads"),
]


def test_the_composer_makes_commands_that_are_understood(browser: Browser) -> None:
    with serving("serve", str(SITE)) as server, Visit(browser, server) as visit:
        visit.open("")
        for app, model, calls, command, words in COMPOSED:
            visit.page.select_option("#c-app", app)
            visit.page.select_option("#c-model", model)
            if calls:
                visit.page.check(f"input[name=calls][value={calls}]")
            assert visit.page.is_disabled("input[name=calls][value=pool]") == (not calls)
            name, *arguments = (visit.page.text_content("#c-command") or "").split()
            assert (name, " ".join(arguments[2:])) == ("allcomers", command)
            assert words in (visit.page.text_content("#c-words") or "")
            told = subprocess.run(
                [sys.executable, "-m", "allcomers", *arguments, "--print-config"], capture_output=True, timeout=60
            )
            assert told.returncode == 0, told.stderr
        assert visit.wrong == []


def test_a_page_that_is_not_there_has_the_sites_own_words(browser: Browser) -> None:
    with serving("serve", str(SITE)) as server, Visit(browser, server) as visit:
        visit.open("nowhere/at/all")
        assert visit.answers[0][0] == 404
        assert "404" in visit.page.title()
        assert all("404" in wrong for wrong in visit.wrong)  # the browser's own note of the page's status


SEEK = """async () => {
  const film = document.querySelector("video");
  const told = (event) => new Promise((resolve) => film.addEventListener(event, resolve, { once: true }));
  film.preload = "metadata";
  const known = told("loadedmetadata");
  film.load();
  await known;
  const seeked = told("seeked");
  film.currentTime = film.duration / 2;
  await seeked;
  return [film.currentTime / film.duration, film.error];
}"""


FILMS = chosen(
    [("thread", False), ("select", False), ("epoll-et", False), ("epoll", True)],
    [*((model, False) for model in MODELS), ("epoll", True), ("thread", True)],
)


@pytest.mark.parametrize(("model", "tls"), FILMS)
def test_the_film_seeks(browser: Browser, certificate: Any, model: str, tls: bool) -> None:
    arguments = ["--certfile", str(certificate.pem)] if tls else []
    with serving("serve", str(SITE), "-m", model, *arguments) as server, Visit(browser, server, tls=tls) as visit:
        visit.open("video.html")
        assert visit.wrong == []
        place, error = visit.page.evaluate(SEEK)
        assert place == pytest.approx(0.5, abs=0.01)
        assert error is None
        parts = [status for status, url in visit.answers if url.endswith(".webm")]
        assert parts
        assert set(parts) == {206}
        # To seek, the browser drops the answer that it was reading: that is no failure.
        assert [wrong for wrong in visit.wrong if ".webm" not in wrong or "ERR_ABORTED" not in wrong] == []


GUESTBOOKS = chosen(
    [("process", "inline", "1"), ("thread", "inline", "1"), ("epoll", "pool", "2"), ("asyncio", "inline", "1")],
    [*((model, "inline", "1") for model in MODELS), ("epoll", "pool", "2")],
)


@pytest.mark.parametrize(("model", "calls", "workers"), GUESTBOOKS)
def test_the_guestbook(browser: Browser, tmp_path: Path, model: str, calls: str, workers: str) -> None:
    """A form posts and its entry appears; the page's own script changes it (PUT) and takes it away (DELETE)."""
    arguments = ["run", "examples/guestbook.py:app", "-m", model, "--calls", calls, "-w", workers]
    env = {"GUESTBOOK_DB": str(tmp_path / "guestbook.sqlite3")}
    with serving(*arguments, env=env) as server, Visit(browser, server) as visit:
        page = visit.page
        visit.open("")
        page.fill("#name", "Ada <b>")
        page.fill("#text", "I was here & there")
        page.click("form button")
        entry = page.locator("[data-entry]")
        entry.wait_for()
        assert entry.locator("b").first.text_content() == "Ada <b>"
        assert entry.locator("p").text_content() == "I was here & there"
        page.once("dialog", lambda dialog: dialog.accept("I am still here"))
        page.click("button[name=edit]")
        page.locator("p", has_text="I am still here").wait_for()
        page.click("button[name=delete]")
        entry.wait_for(state="detached")
        page.wait_for_load_state("networkidle")
        assert visit.wrong == []
        assert [status for status, _ in visit.answers if status not in (200, 303, 204, 304)] == []


# ---------------------------------------------------------------- real apps


@pytest.mark.parametrize(
    "kind", chosen(["wsgi thread-pool", "asgi asyncio"], ["wsgi epoll", "wsgi thread-pool", "asgi asyncio"])
)
def test_the_admin_of_django_works(browser: Browser, board: dict[str, str], kind: str) -> None:
    """Log in, add a note by hand, find it, delete it; every style, script and picture of its pages is there."""
    interface, model = kind.split()
    options = ("-m", model, "--max-body", "200M")
    with serving("run", f"board.{interface}:app", *options, env=board) as server, Visit(browser, server) as visit:
        page = visit.page
        visit.open("admin/")
        page.fill("input[name=username]", "admin")
        page.fill("input[name=password]", "secret")
        page.click("input[type=submit]")
        page.click("a[href='/admin/board/note/add/']")
        page.fill("input[name=title]", f"By hand, {kind}")
        page.fill("textarea[name=text]", "Written in a browser.")
        page.click("input[name=_save]")
        page.click(f"text=By hand, {kind} >> nth=-1")
        page.click("a.deletelink")
        page.click("input[type=submit]")
        page.wait_for_load_state("networkidle")
        assert "deleted successfully" in page.inner_text(".messagelist")
        assert (
            page.evaluate("getComputedStyle(document.querySelector('#header')).backgroundColor") != "rgba(0, 0, 0, 0)"
        )
        assert visit.wrong == []


@pytest.mark.parametrize("model", chosen(["asyncio", "epoll-et"], ["asyncio", "epoll-et", "select", "poll", "epoll"]))
def test_a_page_lives_on_events_and_a_websocket(browser: Browser, tmp_path: Path, model: str) -> None:
    notes = tmp_path / "notes"
    notes.touch()
    target = ROOT / "tests" / "support" / "real" / "starlette_app.py"
    with (
        serving("run", f"{target}:app", "-m", model, env={"REAL_NOTES": str(notes)}) as server,
        Visit(browser, server) as visit,
    ):
        visit.open("live")
        visit.page.wait_for_selector("#events li:nth-child(3)")
        visit.page.wait_for_selector("#messages li:nth-child(4)")
        assert visit.page.inner_text("#events").split("\n") == ["event 0", "event 1", "event 2"]
        assert visit.page.inner_text("#messages").split("\n") == ["one", "two", "three", "closed 1000"]
        assert [text for text in visit.wrong if "/events" not in text] == []  # those the page closes itself


def test_the_chat_carries_a_word_from_one_page_to_the_other(browser: Browser) -> None:
    with (
        serving("run", "examples/chat.py:app") as server,
        Visit(browser, server) as ada,
        Visit(browser, server) as bob,
    ):
        for visit in (ada, bob):
            visit.page.goto(f"{visit.origin}/")  # its stream of events never ends: no idle network to wait for
        ada.page.wait_for_function("document.getElementById('here').textContent === '2'")
        ada.page.fill("input", "Hello, <b>Bob</b>")
        ada.page.press("input", "Enter")
        for visit in (ada, bob):
            visit.page.wait_for_selector("li")
            assert visit.page.inner_text("li") == "Hello, <b>Bob</b>"
        bob.page.context.close()
        ada.page.wait_for_function("document.getElementById('here').textContent === '1'")
        assert ada.wrong == []
