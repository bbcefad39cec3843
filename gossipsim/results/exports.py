"""Results in long format as a CSV or Parquet file."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from gossipsim.results.cells import is_number
from gossipsim.results.files import write_bytes
from gossipsim.results.long import Records, Row, long_columns
from gossipsim.results.reading import Results
from gossipsim.results.tables import as_csv, as_text

_CHUNK = 50_000  # rows that are held as Python objects at a time


def export(results: Results, path: Path, records: Records = "history") -> None:
    """Writes :meth:`gossipsim.results.Results.long` as the suffix of `path` says.

    Numbers keep their bits. Swept values that are not numbers are text: JSON where they are nested. The metadata of a
    Parquet file name the experiment and its key.

    Raises:
        ValueError: for a suffix that is neither .csv nor .parquet.
        ModuleNotFoundError: for Parquet without pyarrow.
    """
    rows = results.long(records)
    if path.suffix == ".csv":
        present = ({name: value for name, value in row.items() if value is not None} for row in rows)
        write_bytes(path, as_csv(long_columns(results.swept), present).encode(errors="backslashreplace"))
    elif path.suffix == ".parquet":
        write_bytes(path, _parquet(results, rows))
    else:
        raise ValueError(f"{path}: the name of an export ends in .csv or .parquet")


def _parquet(results: Results, rows: Iterator[Row]) -> bytes:
    try:
        import pyarrow as pa  # type: ignore[import-untyped]
        from pyarrow import parquet
    except ModuleNotFoundError as missing:
        hint = "Parquet needs pyarrow: pip install 'gossipsim[parquet]', or export to .csv"
        raise ModuleNotFoundError(hint, name=missing.name) from missing
    columns = long_columns(results.swept)
    types: dict[str, Any] = dict.fromkeys(columns, pa.string())
    types |= {"seed": pa.int64(), "step": pa.int64(), "round": pa.int64(), "epoch": pa.float64(), "value": pa.float64()}
    for swept in results.swept:
        values = [value for run in results.runs if (value := run.swept.get(swept)) is not None]
        if values and all(map(is_number, values)):
            types[swept] = pa.int64() if all(isinstance(value, int) for value in values) else pa.float64()
    texts = [name for name in columns if types[name] == pa.string()]
    about = {"experiment": results.name, "key": results.key}
    schema, sink = pa.schema(list(types.items()), metadata=about), io.BytesIO()
    with parquet.ParquetWriter(sink, schema, compression="zstd") as writer:
        while chunk := list(islice(rows, _CHUNK)):
            for row in chunk:
                row |= {name: str(as_text(row[name])) for name in texts if not isinstance(row[name], str | None)}
            writer.write_table(pa.Table.from_pylist(chunk, schema))
    return sink.getvalue()
