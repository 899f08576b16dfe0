"""Live figures of a running server for its operator: metrics, health, and a dashboard.

snapshot       the counter board and /proc, read once: counts since the server started
interval       the figures between two snapshots: rates, and percentiles of response times
history        a sample each second, for the last minutes; watchers wait for the next one
site           the responses: /metrics, /health/…, /stats.json, /events and the page
prometheus     the figures for Prometheus
page           the dashboard, one file made of three
allowed_hosts  the names that a request may have in Host

The site runs in a process of its own (supervisor/admin_process.py): it responds while all workers hang; if it fails,
the supervisor and the workers go on. It reads, and changes nothing. `allcomers top` shows the same in a terminal.
"""
