"""How is something of ours run on a node? Launch, look, follow, stop, identity, lock, secrets."""
