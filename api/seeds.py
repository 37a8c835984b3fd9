"""Seeds as a command line names them."""

from api.errors import UserError

MAX_SEED = 2**31 - 1  # the simulator's largest


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read "1-5" or "1,3,7-9". Raises UserError naming every part that is no seed."""
    seeds: list[int] = []
    wrong = []
    for part in text.split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        ends = [first, last if dash else first]
        # Longer ones are beyond the simulator's largest.
        if not all(end.isascii() and end.isdigit() and len(end) <= 10 for end in ends):
            wrong.append(part)
            continue
        span = range(int(ends[0]), int(ends[1]) + 1)
        if not 1 <= len(span) <= 1000 or span[-1] > MAX_SEED:
            wrong.append(part)
            continue
        seeds += span
    if wrong:
        raise UserError(
            [f"--seeds {text!r}: {part!r} is no seed and no range such as 1-5" for part in wrong]
        )
    return tuple(dict.fromkeys(seeds))
