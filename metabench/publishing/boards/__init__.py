"""The pages and data files of one board."""
