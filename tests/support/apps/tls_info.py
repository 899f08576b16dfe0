"""Apps that answer with what they learn of their client's TLS, as JSON."""

import json

import allcomers

KEYS = ("SSL_PROTOCOL", "SSL_CIPHER", "SSL_CLIENT_VERIFY", "SSL_CLIENT_CERT", "SSL_CLIENT_S_DN", "HTTPS")


def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({key: environ.get(key) for key in KEYS}).encode()]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    said = json.dumps(scope["extensions"].get("tls"))
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": said})
        await send({"type": "websocket.close"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": said.encode()})


def shown(request):
    tls = request.tls
    return None if tls is None else [tls.version, tls.cipher, tls.client_name, tls.client_chain]


class Web(allcomers.Web):
    def get(self, request):
        return {"tls": shown(request)}


class AsyncWeb(allcomers.Web):
    async def get(self, request):
        return {"tls": shown(request)}
