"""Damage to bytes, for tests of what reads them."""


def damaged(content: bytes, rng) -> bytes:
    """Content with one thing wrong: a bit, a cut, a lost or doubled piece, zeros."""
    kind, n = int(rng.integers(5)), len(content)
    a, b = sorted(int(x) for x in rng.integers(n, size=2))
    if kind == 0:
        return content[:a] + bytes([content[a] ^ (1 << int(rng.integers(8)))]) + content[a + 1 :]
    if kind == 1:
        return content[:a]
    if kind == 2:
        return content[:a] + content[b + 1 :]
    if kind == 3:
        return content[:b] + content[a:]
    return content[:a] + bytes(max(b - a, 1)) + content[max(b, a + 1) :]
