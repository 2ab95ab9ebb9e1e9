"""What is done with recordings: notes, edits, comparison, export. No network, no screen."""
