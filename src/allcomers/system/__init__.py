"""The kernel's side: sockets, signals, wake-ups, timers, counters in shared memory."""
