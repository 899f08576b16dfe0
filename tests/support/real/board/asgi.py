"""The board as an ASGI app, its static files too."""

import os

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "board.settings")
app = ASGIStaticFilesHandler(get_asgi_application())
