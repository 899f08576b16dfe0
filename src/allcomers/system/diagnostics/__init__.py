"""What workers write down beside their figures, in memory that all processes share: the last errors, and counts by
route. As on the counter board, a worker may have written anything, so a reader bounds and escapes what it finds."""
