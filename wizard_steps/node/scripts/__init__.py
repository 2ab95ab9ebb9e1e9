"""Programs that run on the nodes, sent as text: each stands alone on the standard library."""
