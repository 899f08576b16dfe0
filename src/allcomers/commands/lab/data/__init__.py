"""Plain data of an experiment: candidates, a goal, a plan."""
