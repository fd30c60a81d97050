import pytest

from data_prep.options import engine_options, frequency_limits, size_bytes
from dlrm_core.schema.errors import KitError


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("7", 7), ("2kb", 2000), ("1 MiB", 1 << 20), ("0.5GB", 5 * 10**8)]
)
def test_sizes(text, size):
    assert size_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GB", "4 G B", "-1GB", "4gig", "1e9", "nan"])
def test_no_sizes(text):
    with pytest.raises(KitError, match="4GB"):
        size_bytes(text)


def test_limits():
    assert frequency_limits("3") == {"frequency_limit": 3, "column_limits": {}}
    assert frequency_limits("C1:2, C26:9") == {"column_limits": {"C1": 2, "C26": 9}}


@pytest.mark.parametrize("text", ["", "3,4", "C1:2,C1:3", "C1", "C1:", "3;4", "three"])
def test_no_limits(text):
    with pytest.raises(KitError, match="--frequency-limit"):
        frequency_limits(text)


def test_options_of_engines():
    assert engine_options([]) == {}
    given = engine_options([["spark.a=1=2", "spark.b="], ["spark.a=3", "master=local[2]"]])
    assert given == {"spark.a": "3", "spark.b": "", "master": "local[2]"}


@pytest.mark.parametrize("text", ["spark.a", "", "=1"])
def test_no_options_of_engines(text):
    with pytest.raises(KitError, match="--engine-option"):
        engine_options([[text]])
