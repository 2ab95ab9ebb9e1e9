"""How does a command reach a node? SSH, and its wrappers: lock, secrets, cleaning, dry run, replay."""
