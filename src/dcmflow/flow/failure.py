"""Exceptions on their way out of a run: in words, out of their groups, with the name of the stage."""

from __future__ import annotations

from dcmflow.errors import DcmflowError, StageError


def describe(error: BaseException) -> str:
    """The reason in words: ours speak for themselves, others are introduced by their type."""
    text = str(error)
    if isinstance(error, DcmflowError):
        return text or type(error).__name__
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def died(stage: str, kind: str, error: BaseException) -> StageError:
    """The error of a stage whose actor ended by an exception."""
    return StageError(f"{kind} {stage!r} died: {describe(error)}", stage=stage)


def could_not_open(stage: str, kind: str, error: BaseException) -> StageError:
    """The error of a stage that could not open."""
    return StageError(f"{kind} {stage!r} cannot be opened: {describe(error)}", stage=stage, opening=True)


def leaves(error: BaseException, whole: BaseException | None = None) -> list[BaseException]:
    """The exceptions in a group, at any depth and each once; the exception itself when it is no group.

    Args:
        whole: an exception that is not to be taken apart, group or not.
    """
    if whole is not None and _same(error, whole):
        return [whole]
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    found = [leaf for inner in error.exceptions for leaf in leaves(inner, whole)]
    return list({id(leaf): leaf for leaf in found}.values())


def _same(error: BaseException, whole: BaseException) -> bool:
    """A group that went through a task group may come out as another object with the same content."""
    if not isinstance(error, BaseExceptionGroup) or not isinstance(whole, BaseExceptionGroup):
        return error is whole
    return error.message == whole.message and leaves(error) == leaves(whole)


def only_cause(error: BaseException, whole: BaseException | None = None) -> BaseException:
    """What a group is about: its one exception, else the first StageError in it, else the group."""
    found = leaves(error, whole)
    if len(found) == 1:
        return found[0]
    if all(isinstance(leaf, Exception) for leaf in found):
        for leaf in found:
            if isinstance(leaf, StageError):
                others = [describe(other) for other in found if other is not leaf]
                leaf.add_note("at the same time: " + "; ".join(others))
                return leaf
    return error
