"""Every error this package raises on purpose.

Messages follow one form so that the command line can print them as they are:
``WHAT, WHERE; WHAT TO DO`` for files and runs, and
``<function>: <argument> must be <requirement>; got <value>. <What to do.>`` for arrays.
"""


class AlsegError(Exception):
    """Base class: anything the engine reports to its user. Exit status 1."""


class UsageError(AlsegError, ValueError):
    """The request itself is wrong (unknown option value, impossible combination). Exit status 2."""


class ShapeError(AlsegError, ValueError):
    """An array has the wrong number of dimensions or the wrong extent."""


class DtypeError(AlsegError, TypeError):
    """An array has a dtype that no implementation takes."""


class RangeError(AlsegError, ValueError):
    """A value lies outside what the formula is defined for."""


class DeviceError(AlsegError, ValueError):
    """Arrays of one call lie on different devices."""


class BackendError(AlsegError, RuntimeError):
    """No implementation can run this call, or the forced one cannot."""


class DataError(AlsegError, ValueError):
    """Image bytes or logits cannot be used (broken file, NaN, bomb). One image, never the run."""


class PoolError(AlsegError):
    """The pool cannot be listed: missing, empty, unreadable, duplicate ids."""


class ModelError(AlsegError):
    """The model cannot be loaded, or its inputs and outputs are not those of a segmentation network."""


class RunError(AlsegError):
    """A run directory is missing, belongs to another model or config, or cannot be written."""


class IndexFileError(AlsegError):
    """A saved index is missing, damaged, foreign, of a newer version, or in the hands of another writer."""
