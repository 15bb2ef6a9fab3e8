"""Neither is a test file of its own, so pytest must be told to show what its assertions compared."""

import pytest

pytest.register_assert_rewrite("contract", "places")
