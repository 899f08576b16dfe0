"""The measuring tools themselves: load and lab."""
