"""Arrays in a file: an uncompressed NumPy archive that depends on nothing but them."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray


def write_arrays(file: Path | IO[bytes], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write what `numpy.load` reads; as `numpy.savez` does, but without the time of day in it."""
    with zipfile.ZipFile(file, "w") as packed:
        for name, array in arrays.items():
            with packed.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
