"""Models as dictionaries and files."""
