"""Charts as byte-stable SVG."""
