"""What does one screen ask or show? Screens and dialogs."""
