"""The model in the administration."""

from django.contrib import admin

from django_app.notes.models import Note

admin.site.register(Note)
