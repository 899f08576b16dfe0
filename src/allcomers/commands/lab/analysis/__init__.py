"""From measured trials to a verdict: statistics, scaling, standings, wording."""
