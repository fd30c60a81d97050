"""A made-up table with columns that are not Criteo's: hotels shown to people who search, and which of them were clicked.

The rule behind the clicks is known, so that the best attainable score is, too.
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dlrm_core.schema.files import write_atomic

ROWS, SEED = 20_000, 10
CITIES = ("Genève", "Lisboa", "Oslo", "Wien", "Zürich")
DEVICES = ("phone", "tablet", "desktop")
HOTELS = 120
COLUMNS = ("search", "city", "hotel", "device", "stars", "price", "distance_km", "nights", "clicked")
MISSING_DISTANCES = 0.05  # share of the rows


@dataclass(frozen=True)
class HotelLog:
    """Fields by column, and the click probability behind each row, shape (rows,)."""

    columns: dict[str, list[str]]
    probability_B: NDArray[np.float64]


def hotel_log(rows: int = ROWS, seed: int = SEED) -> HotelLog:
    """Draw a log.

    A click is the likelier the cheaper and nearer the hotel, by the hotel's own charm, and by a taste of each city for each
    device that no sum of a city's and a device's part can express. Stars and nights say nothing.
    """
    generator = np.random.default_rng(seed)
    charm, taste = generator.normal(0, 0.7, HOTELS), generator.normal(0, 1.2, (len(CITIES), len(DEVICES)))
    taste -= taste.mean(0) + taste.mean(1, keepdims=True) - taste.mean()
    city, device = generator.integers(0, len(CITIES), rows), generator.integers(0, len(DEVICES), rows)
    hotel = np.minimum(generator.exponential(25, rows).astype(int), HOTELS - 1)
    price, distance = generator.lognormal(4.7, 0.6, rows).round(2), generator.exponential(3, rows).round(1)
    logit = -0.5 - 0.9 * (np.log(price) - 4.7) - 0.15 * distance + charm[hotel] + taste[city, device]
    probability = 1 / (1 + np.exp(-logit))
    unknown = generator.random(rows) < MISSING_DISTANCES
    fields = [
        [f"s{i:06d}" for i in range(rows)],
        [CITIES[i] for i in city],
        [f"h{i:03d}" for i in hotel],
        [DEVICES[i] for i in device],
        [str(i) for i in generator.integers(1, 6, rows)],
        [f"{x:.2f}" for x in price],
        ["" if u else f"{x:.1f}" for x, u in zip(distance, unknown, strict=True)],
        [str(i) for i in generator.integers(1, 15, rows)],
        [str(int(x)) for x in generator.random(rows) < probability],
    ]
    return HotelLog(dict(zip(COLUMNS, fields, strict=True)), probability)


def write_hotels(path: Path) -> None:
    """Write the log as a CSV with semicolons."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";", lineterminator="\n")
    log = hotel_log()
    writer.writerow(log.columns)
    writer.writerows(zip(*log.columns.values(), strict=True))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text.getvalue())
