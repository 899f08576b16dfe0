"""What the benchmarks serve: the smallest answer of each kind."""

import os

import allcomers


class Hello(allcomers.Web):
    """13 bytes of text."""

    def get(self, request: allcomers.Request) -> str:
        return "Hello, World!"


class Who(allcomers.Web):
    """Which process answers, and its parent: under the process model the parent is the worker."""

    def get(self, request: allcomers.Request) -> str:
        return f"{os.getpid()} {os.getppid()}"


class Echo(allcomers.Service):
    """Each piece of data goes back as it came."""

    framing = allcomers.Raw()

    def request(self, data: bytes) -> bytes | None:
        return data
