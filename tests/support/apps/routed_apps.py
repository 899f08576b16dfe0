"""Apps of several frameworks with the same routes, alone and joined: their templates are counted by route."""

from __future__ import annotations

import time

import bottle
import fastapi
import flask
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

import allcomers


def of_user(request: object, number: int) -> HttpResponse:
    return HttpResponse(f"user {number}")


urlpatterns = [path("users/<int:number>/", of_user)]
if not settings.configured:
    settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="none")

of_flask = flask.Flask("routed")
of_flask.add_url_rule("/users/<int:number>/", "user", lambda number: f"user {number}")


@of_flask.route("/fail")
def fail() -> str:
    private = "a value of a variable"
    raise ValueError(f"it failed after {len(private)}\x1b[31m")


@of_flask.route("/busy")
def busy() -> str:
    compute(time.monotonic() + 0.2)
    return "busy"


def compute(until: float) -> None:
    while time.monotonic() < until:
        sum(range(1000))


of_bottle = bottle.Bottle()
of_bottle.route("/users/<number:int>/", callback=lambda number: f"user {number}")

of_fastapi = fastapi.FastAPI()


@of_fastapi.get("/users/{number}/")
async def user_of_fastapi(number: int) -> str:
    return f"user {number}"


async def user_of_starlette(request: object) -> PlainTextResponse:
    return PlainTextResponse("user")


of_starlette = Starlette(routes=[Mount("/api", routes=[Route("/users/{number:int}/", user_of_starlette)])])


class User(allcomers.Web):
    def get(self, request: allcomers.Request) -> str:
        return f"user {request.params['id']}"


class AsyncUser(allcomers.Web):
    async def get(self, request: allcomers.Request) -> str:
        return f"user {request.params['id']}"


of_web = {"/users/{id:int}/": User, "/later/{id:int}/": AsyncUser}
wsgi = {"/flask/": of_flask, "/bottle/": of_bottle, "/django/": get_wsgi_application()}
asgi = {"/fastapi/": of_fastapi, "/starlette/": of_starlette, "/django-asgi/": get_asgi_application()}
joined = allcomers.routes(of_web | wsgi | asgi)
