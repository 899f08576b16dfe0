"""HTTP by Django, WebSockets by Channels."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_app.settings")
django = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402 - wants the settings
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler  # noqa: E402
from django.urls import path  # noqa: E402

from django_app.notes.consumers import Echo, Refused, Room  # noqa: E402

app = ProtocolTypeRouter(
    {
        "http": ASGIStaticFilesHandler(django),
        "websocket": AuthMiddlewareStack(
            URLRouter([path("room", Room.as_asgi()), path("echo", Echo.as_asgi()), path("refused", Refused.as_asgi())])
        ),
    }
)
