"""What an operator sees of a server that runs: metrics, health, figures and a page with all of them.

look      the board and /proc, read once: counts since the server began
span      what happened between two looks: rates, and percentiles of response times
history   a look each second, for the last minutes; who waits for the next one
site      the answers: /metrics, /health/…, /stats.json, /events and the page
metrics   the same for Prometheus
page      the page, one file made of three
host      by which names it may be called
top       the figures in a terminal, from another process

It is a server of our own in a process of its own (office.py): it answers while all workers hang, and whatever becomes
of it, the supervisor and the workers go on. It reads, and changes nothing.
"""
