"""The board as a WSGI app, its static files too."""

import os

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "board.settings")
app = StaticFilesHandler(get_wsgi_application())
