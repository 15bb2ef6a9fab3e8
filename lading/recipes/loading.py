"""Find a recipe by name or URI, prove that it is the one meant, and load it."""

import hashlib
import importlib
import re
import sys
import traceback
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lading import storage
from lading.errors import InvalidRecipe, InvalidReference, LadingError, NotFound
from lading.recipes.contract import Trained, Value, check_trained, resolve_hyperparameters

BUILT_IN = ("fashion_mnist",)
"""Recipes that come with lading: each is a module of this package."""

HEX_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Recipe:
    """A recipe that is ready to train."""

    name: str
    """A built-in name, or the URI it was read from."""
    sha256: str
    """Of its source: 64 hex digits."""
    defaults: Mapping[str, Value]
    """Its hyperparameters."""
    function: Callable[[str, dict[str, Value]], Any]
    """Its ``train``."""
    file: str
    """The file name that tracebacks give to its code."""

    def train(self, data: str, hyperparameters: Mapping[str, Any]) -> Trained:
        """Train, and hold the result against the contract.

        Args:
            data: A directory or ``gs://`` prefix; what an empty text means is the recipe's choice.
            hyperparameters: Override the defaults.

        Raises:
            InvalidInput: a hyperparameter is unknown or of another type.
            InvalidRecipe: ``train`` failed (the message has file and line), or returned what the contract forbids.
            InvalidData: the data cannot be used.
        """
        resolved = resolve_hyperparameters(self.defaults, hyperparameters)
        try:
            returned = self.function(data, resolved)
        except LadingError:
            raise
        except (Exception, SystemExit) as error:  # sys.exit(0) in a recipe is not a trained model
            raise InvalidRecipe(f"{_where(self.name, self.file, error)}: train() failed: {_what(error)}") from error
        return check_trained(returned, self.name)


@dataclass(frozen=True)
class RecipeSource:
    """The source of a recipe: read and verified, not run yet."""

    name: str
    sha256: str
    code: bytes

    def load(self) -> Recipe:
        """Run the recipe's file and take ``train`` and ``HYPERPARAMETERS`` from it.

        Raises:
            InvalidRecipe: it does not compile, fails while it is imported, or lacks what the contract requires;
                the message names file and line.
        """
        if self.name in BUILT_IN:
            module = importlib.import_module(f"lading.recipes.{self.name}")
            file = str(module.__file__)
        else:
            module, file = self._execute(), self.name
        train = getattr(module, "train", None)
        if not callable(train):
            raise InvalidRecipe(
                f"{self.name}: expected a function train(data, hyperparameters), found none; see docs/recipes.md"
            )
        defaults = getattr(module, "HYPERPARAMETERS", {})
        scalars = (bool, int, float, str)
        if not isinstance(defaults, dict) or not all(
            isinstance(name, str) and type(value) in scalars for name, value in defaults.items()
        ):
            raise InvalidRecipe(
                f"{self.name}: expected HYPERPARAMETERS as a dict from names to int, float, bool or str, "
                f"received {defaults!r}"
            )
        return Recipe(self.name, self.sha256, defaults, train, file)

    def _execute(self) -> types.ModuleType:
        module = types.ModuleType(f"lading_recipe_{self.sha256[:12]}")
        module.__file__ = self.name
        # Dataclasses and Keras' registration of custom layers look their module up by name.
        sys.modules[module.__name__] = module
        try:
            exec(compile(self.code, self.name, "exec"), module.__dict__)
        except SyntaxError as error:
            raise InvalidRecipe(f"{self.name}, line {error.lineno}: not valid Python: {error.msg}") from error
        except (Exception, SystemExit) as error:
            raise InvalidRecipe(f"{_where(self.name, self.name, error)}: the import failed: {_what(error)}") from error
        return module


def find_recipe(uri: str, sha256: str = "") -> RecipeSource:
    """Read a recipe's source and verify it; nothing of it runs.

    Args:
        uri: A built-in name, a path, ``file://`` or ``gs://``.
        sha256: 64 hex digits that the source must have; required for ``gs://``, so that what runs with the rights of
            the training job is what its author released.

    Raises:
        InvalidRecipe: unknown, missing, or other than its digest.
    """
    known = f"built-in recipes: {', '.join(BUILT_IN)}; a file of your own: its path, file:// or gs:// URI"
    wanted = sha256.removeprefix("sha256:").lower()
    if wanted and not HEX_DIGEST.fullmatch(wanted):
        raise InvalidRecipe(f"expected the recipe's sha256 as 64 hex digits, received {sha256!r}")
    if uri in BUILT_IN:
        code = Path(__file__).with_name(f"{uri}.py").read_bytes()
    elif not uri or ("/" not in uri and not uri.endswith(".py")):
        raise InvalidRecipe(f"unknown recipe {uri!r}; {known}")
    elif storage.is_remote(uri) and not wanted:
        raise InvalidRecipe(f"{uri}: a remote recipe needs its sha256 (`sha256sum FILE`), so that it cannot be swapped")
    else:
        try:
            code = storage.read_bytes(uri)
        except (NotFound, InvalidReference) as error:
            raise InvalidRecipe(f"cannot read the recipe: {error}; {known}") from error
    digest = hashlib.sha256(code).hexdigest()
    if wanted and digest != wanted:
        raise InvalidRecipe(
            f"{uri}: expected sha256 {wanted}, received {digest}: the file was changed or is another one"
        )
    return RecipeSource(uri, digest, code)


def load_recipe(uri: str, sha256: str = "") -> Recipe:
    """Find a recipe, verify it and load it; the errors are those of ``find_recipe`` and ``RecipeSource.load``."""
    return find_recipe(uri, sha256).load()


def _where(name: str, file: str, error: BaseException) -> str:
    """The recipe and the innermost of its own lines in the traceback."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{name}, line {lines[-1]}" if lines else name


def _what(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
