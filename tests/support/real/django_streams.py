"""A Django app whose answers come in pieces: rows of a database, a file. Django closes its connections at the end."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import django
from django.conf import settings
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpRequest, StreamingHttpResponse
from django.urls import path

FOLDER = Path(os.environ.get("REAL_FOLDER", "/nowhere"))

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="for tests",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": FOLDER / "database"}},
)
django.setup()


def note(word: str) -> None:
    fd = os.open(FOLDER / "noted", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{word} {threading.get_ident()}\n".encode())
    os.close(fd)


def started(**_: object) -> None:
    note("started")


def finished(**_: object) -> None:
    note("finished")


request_started.connect(started)
request_finished.connect(finished)


def rows(request: HttpRequest) -> StreamingHttpResponse:
    from django.db import connection

    def lines() -> Iterator[str]:
        with connection.cursor() as cursor:
            cursor.execute(
                "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 4) SELECT i FROM n"
            )
            for (number,) in cursor:
                if "slow" in request.GET:
                    time.sleep(0.01)
                yield f"{number}\n"

    return StreamingHttpResponse(lines())


def file(request: HttpRequest) -> FileResponse:
    from django.db import connection

    connection.ensure_connection()
    return FileResponse((FOLDER / "large").open("rb"))


urlpatterns = [path("rows", rows), path("file", file)]
app = get_wsgi_application()
