"""What a person gets of a finding: lines, spans, one sentence, and the proof that they explain it."""
