"""Plain data of an experiment: options, candidates, a goal, a plan, a race."""
