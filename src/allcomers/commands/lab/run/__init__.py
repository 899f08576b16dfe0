"""Run an experiment: server processes, load processes, trials, a journal."""
