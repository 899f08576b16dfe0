"""Hooks: functions of the operator's that are called at turns of the server's life."""
