"""Settings of a service: read all at once, and refused where a target does not have them."""

import pytest
from release_world import RIGHT, World

from lading.errors import InvalidInput
from lading.targets.settings import Settings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected settings as a JSON object"),
        ("[]", "expected settings as a JSON object"),
        ('{"memroy": "1Gi", "env": {"A": 1}, "startup_seconds": 0}',
         "unknown setting 'memroy' .*; env: expected an object of strings.*; startup_seconds: expected a whole number"),
    ],
)  # fmt: skip
def test_settings_are_checked_all_at_once(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Settings.parse(text)


def test_settings_take_the_floats_that_kfp_makes_of_integers() -> None:
    settings = Settings.parse('{"startup_seconds": 90.0, "cpu": 2.0, "env": {"A": "b"}}')
    assert settings == Settings(env={"A": "b"}, cpu="2", startup_seconds=90)


def test_a_setting_that_the_target_does_not_have_is_refused(world: World) -> None:
    with pytest.raises(
        InvalidInput,
        match=r"local: has no cpu_boost, memory \(it has: concurrency, env, .*\)",
    ):
        world.deploy(world.image(RIGHT), memory="1Gi", cpu_boost=True)
