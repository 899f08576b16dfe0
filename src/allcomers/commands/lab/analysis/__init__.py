"""From measured trials to a verdict: statistics, scaling laws, and their wording."""
