"""Checks of the Django with Channels application."""

from __future__ import annotations

import json
import re

from common import PATIENCE, client, echo, equal, events, page, refused, upload, visits, websocket


def check_orm(url: str) -> None:
    with client(url) as http:
        equal(http.post("/notes", data={"text": "bread"}).json()["notes"][0], "bread")
        equal("bread" in http.get("/notes").json()["notes"], True)


def check_upload(url: str) -> None:
    upload(url)


def check_session(url: str) -> None:
    visits(url)


def check_admin(url: str) -> None:
    with client(url, follow_redirects=True) as http:
        form = http.get("/admin/login/")
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form.text)
        assert token, "the form has no token"
        data = {"username": "admin", "password": "secret", "csrfmiddlewaretoken": token[1], "next": "/admin/"}
        answer = http.post("/admin/login/", data=data, headers={"Referer": url + "/admin/login/"})
        equal("Site administration" in answer.text, True)
        equal(http.get("/admin/notes/note/").status_code, 200)


def check_static(url: str) -> None:
    with client(url) as http:
        answer = http.get("/static/admin/css/base.css")
        equal(answer.status_code, 200)
        equal(len(answer.content) > 10_000, True)


def check_admin_in_chromium(url: str) -> None:
    with page(url, "/admin/") as shown:
        shown.fill("#id_username", "admin")
        shown.fill("#id_password", "secret")
        shown.click("input[type=submit]")
        shown.wait_for_selector("#site-name")
        shown.click("#notes-note a")
        shown.wait_for_selector("#changelist")


def check_events(url: str) -> None:
    events(url, "/events")


def check_room(url: str) -> None:
    with websocket(url, "/room") as one, websocket(url, "/room") as two:
        two.send(json.dumps({"text": "hello"}))
        equal(json.loads(two.recv(PATIENCE))["text"], "hello")
        equal(json.loads(one.recv(PATIENCE))["text"], "hello")


def check_echo(url: str) -> None:
    echo(url)


def check_refused(url: str) -> None:
    refused(url, "/refused", 403)
