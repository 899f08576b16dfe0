"""Endurance: many clients that are idle, slow or large, and restarts."""
