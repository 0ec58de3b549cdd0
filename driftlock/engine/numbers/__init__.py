"""Numbers: the fold of a metrics stream, which series it knows, and what is said of those that are unlike their past."""
