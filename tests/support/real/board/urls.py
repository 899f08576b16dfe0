"""The board's pages: the admin, a stream, an upload."""

import hashlib
from collections.abc import Iterator

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from board.models import Note


def notes(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"notes": list(Note.objects.order_by("id").values_list("title", flat=True))})


def stream(request: HttpRequest) -> StreamingHttpResponse:
    def pieces() -> Iterator[bytes]:
        for number in range(int(request.GET["n"])):
            yield f"line {number}\n".encode()

    return StreamingHttpResponse(pieces(), content_type="text/plain")


@csrf_exempt
def upload(request: HttpRequest) -> JsonResponse:
    file = request.FILES["file"]
    digest = hashlib.sha256()
    for piece in file.chunks():
        digest.update(piece)
    return JsonResponse({"name": file.name, "size": file.size, "sha256": digest.hexdigest()})


urlpatterns = [
    path("admin/", admin.site.urls),
    path("notes", notes),
    path("stream", stream),
    path("upload", upload),
    path("favicon.ico", lambda request: HttpResponse(status=204)),
]
