"""What a person is shown of findings: incidents in the terminal, scores in a picture."""
