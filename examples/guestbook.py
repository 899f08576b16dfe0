"""A guestbook: a class with get, post, put and delete, a form, and state that every worker and process shares.

    allcomers run examples/guestbook.py:app

Open http://127.0.0.1:8000, or use it with curl:

    curl -d name=Ada -d 'text=I was here' http://127.0.0.1:8000/
    curl http://127.0.0.1:8000/entries
    curl -X PUT -d '{"text": "I am still here"}' http://127.0.0.1:8000/entries/1
    curl -X DELETE http://127.0.0.1:8000/entries/1

The entries live in the SQLite file that GUESTBOOK_DB names, or in one in the temporary folder. So they are the same
under `--model process`, where each connection is its own process, and under `--workers 2`.
"""

from __future__ import annotations

import base64
import hashlib
import os
import sqlite3
import tempfile
import threading
from html import escape
from pathlib import Path

import allcomers

DATABASE = os.environ.get("GUESTBOOK_DB") or str(Path(tempfile.gettempdir()) / "allcomers-guestbook.sqlite3")
MAX_NAME, MAX_TEXT, MAX_ENTRIES = 40, 500, 200

SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    text TEXT NOT NULL,
    written TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M', 'now'))
);
"""


class Book(threading.local):
    """The entries. Each thread opens the file when it first needs it, so after every fork: SQLite connections must
    not cross one (https://www.sqlite.org/howtocorrupt.html)."""

    database: sqlite3.Connection | None = None

    def run(self, statement: str, *values: object) -> sqlite3.Cursor:
        if self.database is None:
            database = sqlite3.connect(DATABASE, timeout=10, isolation_level=None)  # each statement commits itself
            database.row_factory = sqlite3.Row
            database.executescript(SCHEMA)
            self.database = database
        return self.database.execute(statement, values)

    def entries(self) -> list[dict[str, object]]:
        rows = self.run("SELECT id, name, text, written FROM entries ORDER BY id DESC LIMIT ?", MAX_ENTRIES)
        return [dict(row) for row in rows]

    def add(self, name: str, text: str) -> None:
        self.run("INSERT INTO entries (name, text) VALUES (?, ?)", name, text)
        self.run("DELETE FROM entries WHERE id <= (SELECT max(id) FROM entries) - ?", MAX_ENTRIES)

    def change(self, number: int, text: str) -> bool:
        return self.run("UPDATE entries SET text = ? WHERE id = ?", text, number).rowcount > 0

    def remove(self, number: int) -> bool:
        return self.run("DELETE FROM entries WHERE id = ?", number).rowcount > 0


book = Book()


class Guestbook(allcomers.Web):
    def get(self, request: allcomers.Request) -> allcomers.Response | dict[str, object]:
        if request.path == "/entries":
            return {"entries": book.entries()}
        if request.path != "/":
            raise allcomers.HttpError(404)
        return allcomers.Response(page(book.entries()).encode(), headers=PAGE_HEADERS)

    def post(self, request: allcomers.Request) -> allcomers.Response:
        if request.path != "/":
            raise allcomers.HttpError(404)
        refuse_other_sites(request)
        name = checked("name", request.form.get("name"), MAX_NAME)
        book.add(name, checked("text", request.form.get("text"), MAX_TEXT))
        # 303: the browser fetches the page with GET, so that a reload posts nothing twice.
        return allcomers.Response(status=303, headers={"Location": "/"})

    def put(self, request: allcomers.Request) -> dict[str, object]:
        number = entry_number(request)
        change = request.json()
        text = checked("text", change.get("text") if isinstance(change, dict) else None, MAX_TEXT)
        if not book.change(number, text):
            raise allcomers.HttpError(404, "There is no such entry.")
        return {"id": number, "text": text}

    def delete(self, request: allcomers.Request) -> None:
        if not book.remove(entry_number(request)):
            raise allcomers.HttpError(404, "There is no such entry.")


def refuse_other_sites(request: allcomers.Request) -> None:
    """Refuse the form of another site, which browsers mark with Sec-Fetch-Site; curl sends no such field.

    PUT and DELETE need no such check: a browser sends them across sites only with the consent of an OPTIONS request,
    and gets none."""
    if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        raise allcomers.HttpError(403, "The form of another site cannot write here.")


def checked(name: str, value: object, longest: int) -> str:
    """Return `value` as text of 1 to `longest` characters. Raises HttpError(400)."""
    text = value.strip().encode("utf-8", "replace").decode() if isinstance(value, str) else ""
    if not 0 < len(text) <= longest:
        raise allcomers.HttpError(400, f"The {name} has 1 to {longest} characters.")
    return text


def entry_number(request: allcomers.Request) -> int:
    """Return the N of /entries/N. Raises HttpError(404)."""
    digits = request.path.removeprefix("/entries/")
    if not (request.path.startswith("/entries/") and digits.isascii() and digits.isdecimal() and len(digits) < 16):
        raise allcomers.HttpError(404)
    return int(digits)


SCRIPT = """
const send = async (method, id, body) => {
  const headers = body && { "Content-Type": "application/json" };
  const response = await fetch(`/entries/${id}`, { method, body, headers });
  const words = await response.text();  // even of an empty body: a response that is not read counts as broken off
  if (response.ok) location.reload(); else alert(words);
};
document.addEventListener("click", ({ target }) => {
  const entry = target.closest("[data-entry]");
  if (target.name === "delete") send("DELETE", entry.dataset.entry);
  if (target.name === "edit") {
    const text = prompt("What should it say?", entry.querySelector("p").textContent);
    if (text) send("PUT", entry.dataset.entry, JSON.stringify({ text }));
  }
});
"""
STYLE = """
.entries { list-style: none; margin: 2.5rem 0; padding: 0; max-width: 42rem; }
.entries li { border-top: 1px solid var(--line); padding: 1rem 0; }
.entries p { margin: .3rem 0 .7rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.entries b { overflow-wrap: anywhere; }
.knobs { max-width: 42rem; }
.knobs input, .knobs textarea { width: 100%; font: inherit; padding: .5rem .7rem; margin-top: .3rem; color: inherit;
  background: var(--paper); border: 1.5px solid var(--soft); border-radius: 7px; }
.entries button { font-size: .9rem; padding: .2rem .7rem; }
"""
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Guestbook</title>
<link rel="icon" href="/static/favicon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/static/css/style.css">
<style>{style}</style>
</head>
<body>
<header class="bar"><a class="logo" href="/static/index.html"><img src="/static/favicon.svg" width="34" height="34"
alt="">allcomers</a></header>
<main>
<h1>All comers, sign here</h1>
<form class="knobs" method="post" action="/">
<div><label for="name">Your name</label><input id="name" name="name" required maxlength="{max_name}"></div>
<div><label for="text">Your words</label>
<textarea id="text" name="text" required maxlength="{max_text}" rows="3"></textarea></div>
<button class="go">Sign</button>
</form>
<ul class="entries">{entries}</ul>
</main>
<script>{script}</script>
</body>
</html>
"""
ENTRY = """
<li data-entry="{id}"><b>{name}</b> <span class="note">{written} UTC</span><p>{text}</p>
<button name="edit" aria-label="Edit the entry of {name}">Edit</button>
<button name="delete" aria-label="Delete the entry of {name}">Delete</button></li>"""


def page(entries: list[dict[str, object]]) -> str:
    """Return the whole page; every value is escaped."""
    rows = [ENTRY.format(**{key: escape(str(value)) for key, value in entry.items()}) for entry in entries]
    return PAGE.format(style=STYLE, script=SCRIPT, max_name=MAX_NAME, max_text=MAX_TEXT, entries="".join(rows))


def content_hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


# A second lock behind the escaping: the browser runs the script above and no other.
POLICY = f"default-src 'self'; script-src {content_hash(SCRIPT)}; style-src 'self' {content_hash(STYLE)}"
PAGE_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": f"{POLICY}; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}

app = allcomers.routes({"/": Guestbook, "/static/": allcomers.Site(Path(__file__).parent / "site")})
