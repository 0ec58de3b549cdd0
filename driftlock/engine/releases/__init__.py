"""Two releases of a service, or two values of any attribute, compared by the lines that they say."""
