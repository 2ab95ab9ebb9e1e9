"""Which gates are there, and when is each open? One file a milestone: rounds and judge."""
