"""Responses compressed as they are sent (--compress): which, by which coding, and how."""
