"""How the processes of pytest-xdist share the tests: whole files, and those with a Ray cluster to one process."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from xdist.scheduler.loadscope import LoadScopeScheduling

from tests.support.structure import ROOT

if TYPE_CHECKING:
    import pytest
    from xdist.workermanage import WorkerController

_CLUSTER = re.compile(r'usefixtures\("ray_cluster"\)|\b(?:ray_cluster|fleet): ')


@cache
def uses_cluster(file: str) -> bool:
    """Whether tests of a file use the session's Ray cluster. The process that deals out tests has only their text."""
    return _CLUSTER.search((ROOT / file).read_text("utf-8")) is not None


class FileScheduling(LoadScopeScheduling):
    """Gives each process the next file; files with a Ray cluster go to the process that has started one.

    Another process starts a second cluster only when nothing else is left.
    """

    _owner: WorkerController | None = None

    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        config.option.loadscopereorder = False  # files stay in the order of their tiers
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("::")[0]

    def _assign_work_unit(self, node: WorkerController) -> None:
        files = [*self.workqueue]
        if self._owner not in (None, node):
            files.sort(key=uses_cluster)
        if uses_cluster(files[0]):
            self._owner = self._owner or node
        self.workqueue.move_to_end(files[0], last=False)
        super()._assign_work_unit(node)

    def remove_node(self, node: WorkerController) -> str | None:
        if node is self._owner:
            self._owner = None
        return super().remove_node(node)
