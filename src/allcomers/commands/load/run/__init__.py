"""Run a load test: clients, their processes, and precise waiting."""
