"""What a key vouches for: the signature and the statements that are attached to an image."""

from dataclasses import dataclass

from lading.errors import LadingError
from lading.oci.attach import Attached, attached_to, is_damage, read_artifact
from lading.oci.store import Store
from lading.signing.bundle import (
    BUNDLE_TYPE,
    PREDICATE_ANNOTATION,
    SIGNATURE_PREDICATE,
    Statement,
    open_bundle,
    read_statement,
)
from lading.signing.keys import PublicKey
from lading.signing.simple import find_simple_signature
from lading.wait import Deadline

_MAX_BUNDLES = 200
"""More are not read: whoever may write to the repository could attach any number."""


@dataclass(frozen=True)
class Found:
    """The statements about an image that bear a key's signature, and what else was attached."""

    statements: tuple[Statement, ...]
    """Each about the image that was asked for."""
    problems: tuple[tuple[str, str], ...]
    """Of each other bundle: the predicate type it claims to have, and why it does not count."""

    def of_type(self, predicate_type: str) -> tuple[Statement, ...]:
        """The statements of one type."""
        return tuple(one for one in self.statements if one.predicate_type == predicate_type)

    def problem(self, predicate_type: str) -> str:
        """Why there is no statement of this type."""
        found = [problem for claimed, problem in self.problems if claimed == predicate_type]
        if not found:
            return "nothing is attached"
        return found[0] if len(found) == 1 else f"{len(found)} are attached, none counts: {found[0]}"


def find_statements(store: Store, digest: str, key: PublicKey, *, deadline: Deadline) -> Found:
    """Read every bundle that is attached to an image.

    Args:
        store: Where the image lies.
        digest: Of the image.
        key: Whose signature counts.
        deadline: When to give up.

    Raises:
        AccessDenied: we may not read the repository.
        ServiceUnreachable: the registry does not answer.
    """
    statements, problems = [], []
    for one in attached_to(store, digest, artifact_type=BUNDLE_TYPE, deadline=deadline)[:_MAX_BUNDLES]:
        read = _read(store, one, digest, key, deadline)
        if isinstance(read, Statement):
            statements.append(read)
        else:
            problems.append((str(one.annotations.get(PREDICATE_ANNOTATION, SIGNATURE_PREDICATE)), read))
    return Found(tuple(statements), tuple(problems))


def signature_problem(store: Store, digest: str, key: PublicKey, found: Found, *, deadline: Deadline) -> str:
    """Empty when the key signed the image, as cosign 3 does it or as cosign 2 does; else why that is not so."""
    if found.of_type(SIGNATURE_PREDICATE):
        return ""
    problem = found.problem(SIGNATURE_PREDICATE)
    simple = find_simple_signature(store, digest, key, deadline=deadline)
    return simple and (problem if simple == "nothing is attached" else simple)


def _read(store: Store, attached: Attached, digest: str, key: PublicKey, deadline: Deadline) -> Statement | str:
    """A statement about the image, or why this bundle holds none."""
    try:
        opened = open_bundle(read_artifact(store, attached, deadline=deadline), key)
    except LadingError as error:
        if not is_damage(error):
            raise
        return f"it cannot be read ({error})"
    if opened.problem:
        return opened.problem
    statement = read_statement(opened.payload)
    if statement is None:
        return "what was signed is not a statement about one image"
    return statement if statement.subject == digest else f"it is about another image, {statement.subject}"
