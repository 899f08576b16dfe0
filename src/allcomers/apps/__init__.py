"""Apps, which respond to requests: files, classes, WSGI and ASGI apps, plain TCP services."""
