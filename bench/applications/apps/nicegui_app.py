"""NiceGUI on FastAPI: a page whose state is on the server, by a WebSocket of socket.io."""

import asyncio

from fastapi import FastAPI
from nicegui import ui

VERSION = "one"
app = FastAPI()


@app.get("/version")
async def version() -> str:
    return VERSION


@app.get("/slow")
async def slow() -> str:
    await asyncio.sleep(1.5)
    return "whole"


@ui.page("/")
def page() -> None:
    counter = ui.label("0").props("id=counter")
    ui.button("Add", on_click=lambda: counter.set_text(str(int(counter.text) + 1))).props("id=add")
    ticks = ui.label("none").props("id=ticks")
    ui.timer(0.1, lambda: ticks.set_text("ticked"))
    name = ui.input("Name").props("id=name")
    ui.label().bind_text_from(name, "value", lambda value: f"Hello, {value}!").props("id=greeting")


ui.run_with(app, mount_path="/ui", storage_secret="secret")
