"""Text of strangers on its way to a terminal or a log: no escape sequences, one line, a bounded length."""

from __future__ import annotations

#: characters of a name in an error line, and of a whole error line
NAME, LINE = 80, 1000


def printable(text: object, most: int = NAME) -> str:
    """A name as it may be shown: control, format and undecodable characters escaped, its middle left out when it is long.

    Args:
        text: Anything; its ``str`` is shown.
        most: Characters of the result, at least 3.

    Returns:
        Printable text of at most ``most`` characters.
    """
    raw = text if isinstance(text, str) else str(text)
    if len(raw) <= most and raw.isprintable():
        return raw
    if len(raw) > most:  # before anything looks at each character
        raw = raw[:most] + "…" + raw[-most:]
    shown = "".join(char if char.isprintable() else _escaped(char) for char in raw)
    if len(shown) <= most and len(raw) <= most:
        return shown
    tail = most // 4
    return shown[: most - tail - 1] + "…" + shown[len(shown) - tail :]


def one_line(text: object, most: int = LINE) -> str:
    """A message as one printable line of at most ``most`` characters; runs of white space become one blank."""
    raw = text if isinstance(text, str) else str(text)
    if len(raw) > 4 * most:
        raw = raw[: 2 * most] + "…" + raw[-2 * most :]
    return printable(" ".join(raw.split()), most)


def _escaped(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
