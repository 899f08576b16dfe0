"""Processes and their lives: a worker, its endpoint, its logs; the supervisor and the admin."""
