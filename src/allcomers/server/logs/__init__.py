"""The forms of log entries, colours, and the operator's own configuration of logging."""
