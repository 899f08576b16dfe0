"""What answers requests: files, classes, WSGI and ASGI apps, plain TCP services."""
