"""What does a command of `milepost` do? One file a command. No Textual in here."""
