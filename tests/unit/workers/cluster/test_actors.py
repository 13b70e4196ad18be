"""Whether a machine is still there."""

from __future__ import annotations

import socket

from workers.cluster.actors import machine_answers


def test_a_machine_that_ray_still_lists_is_gone_if_nothing_listens_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        node = {"Alive": True, "NodeManagerAddress": "127.0.0.1", "NodeManagerPort": server.getsockname()[1]}
        assert machine_answers(node)
        assert not machine_answers({**node, "Alive": False})
    assert not machine_answers(node)
