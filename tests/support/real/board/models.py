from django.db import models


class Note(models.Model):
    """A note on the board."""

    title = models.CharField(max_length=100)
    text = models.TextField(blank=True)

    def __str__(self) -> str:
        return self.title
