"""milepost's own two themes: quiet backgrounds, one accent, colours that mean something."""

from __future__ import annotations

from textual.theme import Theme

DARK = Theme(
    name="milepost-dark",
    primary="#7aa6c9",
    secondary="#a0afc2",
    accent="#8fb8de",
    success="#86b38a",
    warning="#d8b26a",
    error="#e08076",
    foreground="#d5dae1",
    background="#14181e",
    surface="#181d24",
    panel="#212832",
    dark=True,
)
LIGHT = Theme(
    name="milepost-light",
    primary="#2d6a9b",
    secondary="#465463",
    accent="#1f5f94",
    success="#2e7039",
    warning="#8a5a00",
    error="#b03328",
    foreground="#20262d",
    background="#f7f8fa",
    surface="#f0f2f5",
    panel="#e2e6eb",
    dark=False,
)
