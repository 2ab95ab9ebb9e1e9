"""How is a step run and gated? Rounds, waiting, expected text, the seams: transport, decider, clock."""
