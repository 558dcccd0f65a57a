"""Visual dubbing: make the lips of a talking face in a video follow another recording.

The public names are loaded when they are first used, so ``import dubcli`` does not load torch.

Example:
    >>> import dubcli
    >>> dubcli.DubOptions().crf
    16
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dubcli.batch.plan import plan_batch
    from dubcli.batch.run import run_batch
    from dubcli.batch.status import batch_status
    from dubcli.config import BatchOptions, CacheOptions, DubOptions, EvaluationOptions
    from dubcli.errors import DubError
    from dubcli.evaluation.evaluate import evaluate
    from dubcli.line import Line
    from dubcli.loading import load_models
    from dubcli.pipeline import analyze, dub

__all__ = [
    "BatchOptions",
    "CacheOptions",
    "DubError",
    "DubOptions",
    "EvaluationOptions",
    "Line",
    "__version__",
    "analyze",
    "batch_status",
    "dub",
    "evaluate",
    "load_models",
    "plan_batch",
    "run_batch",
]
__version__ = "0.1.0"

_HOME = {
    "BatchOptions": "dubcli.config",
    "CacheOptions": "dubcli.config",
    "DubError": "dubcli.errors",
    "DubOptions": "dubcli.config",
    "EvaluationOptions": "dubcli.config",
    "Line": "dubcli.line",
    "analyze": "dubcli.pipeline",
    "batch_status": "dubcli.batch.status",
    "dub": "dubcli.pipeline",
    "evaluate": "dubcli.evaluation.evaluate",
    "load_models": "dubcli.loading",
    "plan_batch": "dubcli.batch.plan",
    "run_batch": "dubcli.batch.run",
}


def __getattr__(name: str) -> Any:
    """Return a public name, imported from the module that defines it.

    Args:
        name: What was asked of the package.

    Returns:
        The function or class.

    Raises:
        AttributeError: If the package has no such name.
    """
    if name not in _HOME:
        raise AttributeError(f"module 'dubcli' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    """Return the public names, the ones not loaded yet included."""
    return sorted(set(globals()) | set(__all__))
