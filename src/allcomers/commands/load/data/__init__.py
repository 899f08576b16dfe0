"""Plain data of a load test: options, a plan, a schedule, records, results."""
