"""Log files: unpacked, cut into lines, each line with its own time. What `replay`, `detect` and `score` read."""
