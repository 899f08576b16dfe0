"""A chat room: each message goes to all in the group."""

from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer, WebsocketConsumer

from django_app.notes.models import Note


class Room(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        await self.channel_layer.group_add("room", self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard("room", self.channel_name)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        count = await database_sync_to_async(Note.objects.count)()
        await self.channel_layer.group_send("room", {"type": "said", "text": content["text"], "notes": count})

    async def said(self, event: dict[str, Any]) -> None:
        await self.send_json({"text": event["text"], "notes": event["notes"]})


class Echo(WebsocketConsumer):
    """Runs in a thread."""

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        self.send(text_data=text_data, bytes_data=bytes_data)


class Refused(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        await self.close()
