"""Valid files made odd: bytes turned, cut off, doubled, and numbers made extreme."""

import random
import re

_NUMBER = re.compile(rb"-?\d+(\.\d+)?([eE][+-]?\d+)?")
_TEXT = re.compile(rb'"[^"]{0,40}"')

EXTREME = (
    b"0", b"-1", b"1", b"0.5", b"1e999", b"-1e999", b"NaN", b"nan", b"inf", b"1e-320", b"1e300",
    b"9" * 25, b"-" + b"9" * 25, b"9" * 5000, b"2147483648", b"18446744073709551616", b"null",
    b"true", b'"x"', b"[]", b"{}", b"[[1]]", b"", b" ", b"1_0", b"0x10", b"1,5",
    b'"' + b"x" * 100_000 + b'"', b'"\\ud800"', b'"\\u0000"', "\u0661".encode(), b"\xff\xfe",
)  # fmt: skip
BYTES = (b"\x00", b"\xff", b"\n", b"\r", b'"', b",", b"[", b"{", b"}", b"]", b"-", b"\xed\xa0\x80")


def odd(sample, seed):
    """Return a valid file with one to four odd things done to it; the same for the same seed."""
    draw = random.Random(seed)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        sample = draw.choice(_WAYS)(sample, draw)
    return sample


def _turn(content, draw):
    if not content:
        return content
    place = draw.randrange(len(content))
    turned = content[place] ^ (1 << draw.randrange(8))
    return content[:place] + bytes([turned]) + content[place + 1 :]


def _cut(content, draw):
    return content[: draw.randrange(len(content) + 1)]


def _begin_late(content, draw):
    return content[draw.randrange(min(len(content), 64) + 1) :]


def _slice(content, draw):
    begin = draw.randrange(len(content) + 1)
    return begin, begin + draw.choice((1, 3, 20, 400))


def _remove(content, draw):
    begin, end = _slice(content, draw)
    return content[:begin] + content[end:]


def _repeat(content, draw):
    begin, end = _slice(content, draw)
    return content[:end] + content[begin:end] * draw.choice((1, 2, 50)) + content[end:]


def _put(content, draw):
    place = draw.randrange(len(content) + 1)
    return content[:place] + draw.choice(BYTES) + content[place:]


def _replace(pattern, choices):
    def way(content, draw):
        # near a random place, so that large files are not searched whole
        begin = draw.randrange(max(len(content) - 2000, 0) + 1)
        found = list(pattern.finditer(content, begin, begin + 2000))
        if not found:
            return content
        one = draw.choice(found)
        return content[: one.start()] + draw.choice(choices) + content[one.end() :]

    return way


def _nest(content, draw):
    deep = draw.choice((50, 990, 100_000))
    return _replace(_NUMBER, (b"[" * deep + b"]" * deep, b'{"a":' * deep + b"1" + b"}" * deep))(
        content, draw
    )


def _encode(content, draw):
    text = content.decode("latin-1")
    return draw.choice((b"\xef\xbb\xbf" + content, text.encode("utf-16"), text.encode("utf-32")))


_WAYS = (
    _turn, _turn, _cut, _begin_late, _remove, _repeat, _put,
    _replace(_NUMBER, EXTREME), _replace(_NUMBER, EXTREME), _replace(_NUMBER, EXTREME),
    _replace(_TEXT, EXTREME), _replace(re.compile(rb"\w+"), (b"", b"x", b"\x00")), _nest, _encode,
)  # fmt: skip
