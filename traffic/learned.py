"""What a part has learned, taken out as plain values and arrays, and put back.

A part names what it learns in `LEARNED`, which may be parts again, or tuples, lists and mappings of
them; all else of it comes from how it is built. What is taken
out holds no code, and what is put back goes on exactly where it was.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traffic.model import ModelError


@dataclass(frozen=True, eq=False)
class Learned:
    """What JSON can hold, and the arrays that it counts from 0."""

    plain: Any
    arrays: tuple[NDArray[np.generic], ...]


def take_out(part: Any) -> Learned:
    """Return what a part and those within it have learned; later learning leaves it alone.

    Raises TypeError when a part holds what cannot be told plainly.
    """
    arrays: list[NDArray[np.generic]] = []

    def tell(value: Any) -> Any:
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            return float(value)
        if isinstance(value, np.ndarray):
            # The order of axes in memory goes along: sums taken in another order differ in the
            # last digit.
            order = [int(axis) for axis in np.argsort([-s for s in value.strides], kind="stable")]
            arrays.append(np.array(value.transpose(order), order="C"))
            return {"array": len(arrays) - 1, "order": order}
        if isinstance(value, Mapping):
            return {"map": {str(key): tell(item) for key, item in value.items()}}
        if isinstance(value, tuple | list | deque):
            return {"list": [tell(item) for item in value]}
        if is_dataclass(value):
            return {"record": {f.name: tell(getattr(value, f.name)) for f in fields(value)}}
        if hasattr(value, "LEARNED"):
            return {"part": {name: tell(getattr(value, name)) for name in value.LEARNED}}
        raise TypeError(f"{type(value).__name__} cannot be told plainly")

    return Learned(tell(part), tuple(arrays))


def put_back(part: Any, learned: Learned) -> None:
    """Give a part that is built alike, and has learned nothing, what another has learned.

    A part says in `RECORDS` of which kinds the records are that it keeps: by the name of what
    holds them. Raises ModelError with all that does not fit, and then the part is of no use.
    """
    problems: list[str] = []

    def read(told: Any, now: Any, kind: Any, at: str) -> Any:
        """Return the value that was told; `now` stands in its place, `kind` makes a record."""
        if not isinstance(told, Mapping):
            return told
        if "array" in told:
            return read_array(told, now, at)
        if "list" in told:
            return read_list(told["list"], now, kind, at)
        if "map" in told:
            return read_map(told["map"], now, at)
        if "record" in told:
            return read_record(told["record"], kind, at)
        if "part" in told:
            if hasattr(now, "LEARNED"):
                read_part(told["part"], now, at)
            else:
                problems.append(f"{at}: there is no such part")
            return now
        problems.append(f"{at}: cannot be read")
        return None

    def read_array(told: Mapping[str, Any], now: Any, at: str) -> Any:
        number, order = told["array"], told.get("order")
        if not (isinstance(number, int) and 0 <= number < len(learned.arrays)):
            problems.append(f"{at}: there is no array {number}")
            return None
        array = learned.arrays[number]
        if not isinstance(order, list) or sorted(order) != list(range(array.ndim)):
            problems.append(f"{at}: {order} are not the axes of {array.shape}")
            return None
        array = array.copy().transpose(np.argsort(order)) if order else array.copy()
        if isinstance(now, np.ndarray) and (array.shape, array.dtype) != (now.shape, now.dtype):
            problems.append(
                f"{at}: {array.dtype} of shape {array.shape}, expected {now.dtype} {now.shape}"
            )
        return array

    def read_list(told: Any, now: Any, kind: Any, at: str) -> Any:
        parts = now if isinstance(now, tuple | list) else ()
        has_parts = any(hasattr(part, "LEARNED") for part in parts)
        if has_parts and len(told) != len(parts):
            problems.append(f"{at}: has {len(told)} parts, expected {len(parts)}")
            return now
        items = [
            read(item, parts[i] if has_parts else None, kind, f"{at}[{i}]")
            for i, item in enumerate(told)
        ]
        if isinstance(now, deque):
            return deque(items, maxlen=now.maxlen)
        return now if has_parts else tuple(items)

    def read_map(told: Mapping[str, Any], now: Any, at: str) -> Any:
        if not isinstance(now, Mapping) or told.keys() != now.keys():
            problems.append(f"{at}: has {', '.join(told)}, which is not what is kept there")
            return now
        for name, part in now.items():
            read(told[name], part, None, f"{at}.{name}")
        return now

    def read_record(told: Mapping[str, Any], kind: Any, at: str) -> Any:
        if kind is None or set(told) != {f.name for f in fields(kind)}:
            problems.append(f"{at}: no record of what is kept there")
            return None
        kinds: Mapping[str, Callable[..., Any]] = getattr(kind, "RECORDS", {})
        return kind(**{n: read(v, None, kinds.get(n), f"{at}.{n}") for n, v in told.items()})

    def read_part(told: Mapping[str, Any], now: Any, at: str) -> None:
        names = set(now.LEARNED)
        problems.extend(f"{at}.{n}: is missing" for n in sorted(names - set(told)))
        problems.extend(f"{at}.{n}: is unknown" for n in sorted(set(told) - names))
        kinds = getattr(now, "RECORDS", {})
        for name in sorted(names & set(told)):
            here = f"{at}.{name}".replace("._", ".")
            value = read(told[name], getattr(now, name), kinds.get(name), here)
            setattr(now, name, value)

    if not isinstance(learned.plain, Mapping) or "part" not in learned.plain:
        raise ModelError("what was learned", ["holds no part"])
    read_part(learned.plain["part"], part, type(part).__name__)
    if problems:
        raise ModelError("what was learned", problems)
