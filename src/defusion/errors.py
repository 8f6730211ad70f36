"""Every error that defusion raises on purpose.

    DefusionError
    ├── ImageError        a source or result that cannot be read, fused or written
    │   └── SourceTypeError   a source whose type is not a picture
    ├── OptionError       an option with a value that is not allowed
    │   └── OptionTypeError   an option with a value of the wrong type
    ├── WeightsError      a weights file that is missing, damaged or does not fit
    ├── EngineError       an engine, device, precision or memory that this machine does not have
    ├── TrainingError     photographs, a recipe or a run folder that training cannot use
    ├── EvaluationError   a data set, method, metric or report that an evaluation cannot use
    └── BatchError        scenes, a manifest, a place or a scheduler that a batch cannot use

Errors about an argument's value are also `ValueError`; errors about its type are also `TypeError`.
A message says what came, what was expected and what to do next.
"""

from __future__ import annotations


class DefusionError(Exception):
    """Base of all errors that defusion raises on purpose."""


class ImageError(DefusionError, ValueError):
    """A source image or a result that cannot be read, fused or written."""


class SourceTypeError(ImageError, TypeError):
    """A source whose type is not a picture."""


class OptionError(DefusionError, ValueError):
    """An option with a value that is not allowed."""


class OptionTypeError(OptionError, TypeError):
    """An option with a value of the wrong type."""


class FusionWarning(UserWarning):
    """Something was changed on the way in, or cannot be kept on the way out. The text is one sentence."""


class WeightsError(DefusionError, ValueError):
    """A weights file that is missing, was not made by defusion, or does not fit its config."""


class EngineError(DefusionError, RuntimeError):
    """An engine, device, precision or amount of memory that is needed but not available."""


class TrainingError(DefusionError, ValueError):
    """Photographs, a recipe or a run folder that training cannot use."""


class EvaluationError(DefusionError, ValueError):
    """A data set, method, metric or report that an evaluation cannot use."""


class BatchError(DefusionError, ValueError):
    """Scenes, a manifest, a place or a scheduler that a batch cannot use."""
