"""What is remembered of a walk? Events, their fold, the journal and the output beside it, redacted."""
