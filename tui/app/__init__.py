"""What does the app know and do? The walk on screen, what is compared, logged and said of it."""
