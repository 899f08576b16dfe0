"""Views, plain and async."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.views.decorators.csrf import csrf_exempt

from django_app.notes.models import Note


def version(request: HttpRequest) -> HttpResponse:
    return HttpResponse(settings.VERSION)


async def slow(request: HttpRequest) -> HttpResponse:
    await asyncio.sleep(1.5)
    return HttpResponse("whole")


@csrf_exempt
def notes(request: HttpRequest) -> JsonResponse:
    if request.method == "POST":
        Note.objects.create(text=request.POST["text"])
    return JsonResponse({"notes": [note.text for note in Note.objects.order_by("-id")[:3]]})


@csrf_exempt
def upload(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"sha256": hashlib.sha256(request.FILES["file"].read()).hexdigest()})


def visits(request: HttpRequest) -> JsonResponse:
    request.session["visits"] = request.session.get("visits", 0) + 1
    return JsonResponse({"visits": request.session["visits"]})


async def events(request: HttpRequest) -> StreamingHttpResponse:
    async def generate() -> AsyncIterator[str]:
        for number in range(3):
            yield f"data: {number}\n\n"
            await asyncio.sleep(0.05)
        await asyncio.sleep(3600)

    return StreamingHttpResponse(generate(), content_type="text/event-stream")
