"""Forecasts as Parquet files, and what they hold."""

import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from api.errors import UserError
from api.forecasting.scores import Said

PREDICTIONS, ONSETS = "predictions.parquet", "onset.parquet"


def need_arrow() -> Any:
    """Return pyarrow. Raises UserError with the command that installs it."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise UserError(
            ["forecasts need pyarrow: pip install 'traffic-response[forecast]'"]
        ) from error
    return pyarrow


def write_predictions(
    folder: Path,
    said: Said,
    detectors: Sequence[str],
    begin: datetime,
    step: timedelta,
    beyond: bool = False,
) -> None:
    """Write what was said, in order of issue, lead time and detector.

    `begin` is the stamp of the first row of `measured`, with its zone; a forecast is issued at the
    stamp of the newest row that it knows. Lead times that end beyond the data are left out unless
    `beyond`, and so are detectors that were never heard.
    """
    arrow = need_arrow()
    zone, stamps = str(begin.tzinfo), _list_stamps(said, begin, step)
    names = arrow.array(list(detectors))
    models = sorted({model for of_issue in said.model for model in of_issue})
    schema = arrow.schema(
        [
            ("issued", arrow.timestamp("us", tz=zone)),
            ("lead_min", arrow.float32() if step % timedelta(minutes=1) else arrow.int16()),
            ("detector", arrow.dictionary(arrow.int32(), arrow.string())),
            ("predicted", arrow.float32()),
            ("q05", arrow.float32()),
            ("q50", arrow.float32()),
            ("q95", arrow.float32()),
            ("model", arrow.dictionary(arrow.int32(), arrow.string())),
        ]
    )
    leads = said.value.shape[1]
    lead_min = np.arange(1, leads + 1) * (step / timedelta(minutes=1))

    def build(at: int) -> Any:
        """Return one issue's rows: H x D, less what is not to be told."""
        count = leads if beyond else min(leads, len(said.measured) - 1 - said.first - at)
        value = said.value[at, :count]
        told = ~np.isnan(value)
        lead, detector = np.nonzero(told)
        model = np.array([models.index(m) for m in said.model[at]], np.int32)[lead]
        columns = [
            arrow.array(np.full(len(lead), stamps[at]), schema.field(0).type),
            arrow.array(lead_min[lead].astype(schema.field(1).type.to_pandas_dtype())),
            arrow.DictionaryArray.from_arrays(detector.astype(np.int32), names),
            *(
                arrow.array(part[at, :count][told], from_pandas=True)
                for part in (said.value, said.low, said.median, said.high)
            ),
            arrow.DictionaryArray.from_arrays(model, arrow.array(models)),
        ]
        return arrow.record_batch(columns, schema=schema)

    _write(folder / PREDICTIONS, schema, (build(at) for at in range(len(stamps))))


def write_onsets(
    folder: Path, said: Said, detectors: Sequence[str], begin: datetime, step: timedelta
) -> None:
    """Write the chance that a detector turns slow soon, where it was not slow already."""
    arrow = need_arrow()
    at, detector = np.nonzero(~np.isnan(said.onset_chance))
    zone, stamps = str(begin.tzinfo), _list_stamps(said, begin, step)
    schema = arrow.schema(
        [
            ("issued", arrow.timestamp("us", tz=zone)),
            ("detector", arrow.dictionary(arrow.int32(), arrow.string())),
            ("chance", arrow.float32()),
        ]
    )
    batch = arrow.record_batch(
        [
            arrow.array(stamps[at], schema.field(0).type),
            arrow.DictionaryArray.from_arrays(
                detector.astype(np.int32), arrow.array(list(detectors))
            ),
            arrow.array(said.onset_chance[at, detector]),
        ],
        schema=schema,
    )
    _write(folder / ONSETS, schema, [batch])


def _list_stamps(said: Said, begin: datetime, step: timedelta) -> NDArray[np.int64]:
    """Return when each was issued, in microseconds of UTC."""
    at = said.first + np.arange(len(said.value), dtype=np.int64)
    return round(begin.timestamp() * 1e6) + at * round(step / timedelta(microseconds=1))


def _write(path: Path, schema: Any, batches: Any) -> None:
    """Write a whole file or none."""
    arrow = need_arrow()
    path.parent.mkdir(parents=True, exist_ok=True)
    work = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with arrow.parquet.ParquetWriter(work, schema, compression="zstd") as writer:
            for batch in batches:
                writer.write_batch(batch)
        work.replace(path)
    finally:
        work.unlink(missing_ok=True)
