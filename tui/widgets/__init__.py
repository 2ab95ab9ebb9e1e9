"""How is one part of a screen drawn? Widgets."""
