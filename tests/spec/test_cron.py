"""Cron expressions, before a server sees them."""

import pytest

from lading.errors import InvalidInput
from lading.spec.cron import check_cron


@pytest.mark.parametrize(
    "text", ["0 6 * * 1", "*/15 0-6,12 1 jan-mar MON-FRI", "TZ=Europe/Vienna 0 6 * * *", "CRON_TZ=UTC 1 2 3 4 7"]
)
def test_what_crontab_takes_is_taken(text: str) -> None:
    check_cron(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 6 * *", "five fields"),
        ("0 0 6 * * 1", "five fields"),
        ("60 6 * * 1", "minute"),
        ("0 24 * * 1", "hour"),
        ("0 6 0 * 1", "day of the month"),
        ("0 6 * 13 1", "month"),
        ("0 6 * * 8", "day of the week"),
        ("0 6 * * fry", "day of the week"),
        ("*/0 6 * * 1", "minute"),
        ("5-1 6 * * 1", "minute"),
        ("TZ=Mars/Base 0 6 * * 1", "time zone"),
        ("@daily", "five fields"),
    ],
)
def test_the_field_that_is_wrong_is_named(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        check_cron(text)
