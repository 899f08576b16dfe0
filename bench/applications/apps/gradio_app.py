"""Gradio beside FastAPI: a form, and one whose response comes in pieces."""

import asyncio
import time
from collections.abc import Iterator

import gradio
from fastapi import FastAPI

VERSION = "one"
api = FastAPI()


@api.get("/version")
async def version() -> str:
    return VERSION


@api.get("/slow")
async def slow() -> str:
    await asyncio.sleep(1.5)
    return "whole"


def greet(name: str) -> str:
    return f"Hello, {name}!"


def count(name: str) -> Iterator[str]:
    for number in range(1, 4):
        time.sleep(0.05)
        yield f"{name} {number}"


def size(file: str) -> str:
    with open(file, "rb") as opened:  # noqa: PTH123
        return f"{len(opened.read())} bytes"


with gradio.Blocks(analytics_enabled=False) as demo:
    name = gradio.Textbox(label="Name")
    greeting = gradio.Textbox(label="Greeting")
    gradio.Button("Greet").click(greet, name, greeting, api_name="greet")
    counted = gradio.Textbox(label="Counted")
    gradio.Button("Count").click(count, name, counted, api_name="count")
    file = gradio.File(label="File")
    length = gradio.Textbox(label="Length")
    file.upload(size, file, length, api_name="size")

app = gradio.mount_gradio_app(api, demo, path="/ui")
