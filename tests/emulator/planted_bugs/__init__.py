"""Small kernels that are right, and bugs planted in them and in the project's own: what proves that the gates work."""

from .behaviour import CHECKED, COMPUTED
from .missed import MISSED
from .project import PROJECT
from .table_of_a_mac import FOUND_BY_ITS_CASE
from .text import LINTED, TYPED

BUGS = [*TYPED, *LINTED, *CHECKED, *COMPUTED, *PROJECT, *FOUND_BY_ITS_CASE]

__all__ = ["BUGS", "MISSED"]
