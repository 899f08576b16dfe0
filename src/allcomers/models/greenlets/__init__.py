"""The things by which greenlets wait, in the place of those of threads."""
