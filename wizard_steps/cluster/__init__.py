"""What did the user write? The cluster file: its values, its checks, its edits, its comments kept."""
