"""A chat: an ASGI app without a framework. WebSockets carry the messages, server-sent events the number of guests.

    allcomers run examples/chat.py:app

The guests are kept in memory, so with one worker all see all. Under the blocking models its WebSockets get 501.
"""

import asyncio
import json

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Chat</title><link rel="icon" href="data:,">
<style>
  body { font: 1.1rem/1.5 system-ui; max-width: 40rem; margin: 2rem auto; padding: 0 1rem; color-scheme: light dark }
  input { font: inherit; width: 100%; padding: .5rem; box-sizing: border-box }
  ul { list-style: none; padding: 0 } li { padding: .25rem 0 }
</style>
<h1>Chat</h1><p><b id="here">…</b> here. Open this page twice.</p>
<form><input autofocus autocomplete="off" maxlength="500" placeholder="Say something" aria-label="Say something"></form>
<ul aria-live="polite"></ul>
<script>
const socket = new WebSocket(location.href.replace(/^http/, "ws"));
const input = document.querySelector("input");
document.forms[0].onsubmit = (event) => {
  event.preventDefault();
  if (input.value) socket.send(input.value);
  input.value = "";
};
socket.onmessage = (event) => {
  const item = document.createElement("li");
  item.textContent = JSON.parse(event.data).said;
  document.querySelector("ul").prepend(item);
};
new EventSource("/here").onmessage = (event) => { document.getElementById("here").textContent = event.data };
</script>
</html>
"""

sends = set()
"""The send() of each socket that is open."""


class Changed:
    """A change in the number of guests: wait() for it, or notify() of it."""

    def __init__(self):
        self.future = None

    async def wait(self):
        if self.future is None:
            self.future = asyncio.get_running_loop().create_future()
        await asyncio.shield(self.future)

    def notify(self):
        future, self.future = self.future, None
        if future is not None:
            future.set_result(None)


changed = Changed()


async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await talk(receive, send)
    elif scope["type"] == "http" and scope["path"] == "/here":
        await count(send)
    elif scope["type"] == "http":
        await respond(send, 200 if scope["path"] == "/" else 404, PAGE if scope["path"] == "/" else "Not here.\n")


async def respond(send, status, text):
    headers = [(b"content-type", b"text/html; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


async def talk(receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    sends.add(send)
    changed.notify()
    try:
        while (message := await receive())["type"] == "websocket.receive":
            text = json.dumps({"said": (message.get("text") or "")[:500]})
            others = [other({"type": "websocket.send", "text": text}) for other in sends]
            await asyncio.gather(*others, return_exceptions=True)  # a guest may have just left
    finally:
        sends.discard(send)
        changed.notify()


async def count(send):
    """Send the number of guests, at each change, until the client leaves: then send() raises."""
    headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    while True:
        await send({"type": "http.response.body", "body": b"data: %d\n\n" % len(sends), "more_body": True})
        await changed.wait()
