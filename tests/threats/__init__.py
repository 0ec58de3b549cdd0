"""Bad inputs against a whole server: what is answered, what is counted, what is logged."""
