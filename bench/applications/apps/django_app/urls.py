"""The site's paths."""

from django.contrib import admin
from django.urls import path

from django_app.notes import views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("version", views.version),
    path("slow", views.slow),
    path("notes", views.notes),
    path("upload", views.upload),
    path("visits", views.visits),
    path("events", views.events),
]
