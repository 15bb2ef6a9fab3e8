"""Text out of a model as it may be shown: a name in a file can hold anything, also commands to a terminal."""

_MOST = 300


def plain(text: str, most: int = _MOST) -> str:
    """The text with escapes for what is not printable, cut in the middle when it is long."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)
    return shown if len(shown) <= most else f"{shown[: most * 2 // 3]}…{shown[-most // 3 :]}"
