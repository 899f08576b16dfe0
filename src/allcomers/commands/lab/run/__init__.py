"""Run an experiment: server processes, load processes, trials, and the journal."""
