"""The checks of `eva doctor` about other users and machines: the modes of files, and the Ray clusters that run here."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import psutil

from cli.finding import Finding
from eva.runtime.private_files import open_files
from eva.settings import Settings
from store.postgres.programs import COPIES


def diagnose_files(settings: Settings) -> Iterator[Finding]:
    """Finds files of the data folder that other users of this machine can read or change."""
    if not settings.data_dir.exists():
        return
    found = open_files(settings.data_dir, besides=(COPIES,))
    yield Finding(
        "private files",
        "warn" if found else "ok",
        f"other users can read or change {', '.join(map(str, found[:3]))}"
        + (f" and {'at least ' if len(found) == 10 else ''}{len(found) - 3} more" if len(found) > 3 else "")
        if found
        else f"no other user can read what is in {settings.data_dir}",
        f"Close the folder: chmod -R go-rw {settings.data_dir}" if found else "",
    )


def diagnose_clusters() -> Iterator[Finding]:
    """Finds the Ray clusters on this machine, eva's and others, and says which of them other machines can reach."""
    clusters = [process for process in psutil.process_iter(["name"]) if process.info["name"] == "gcs_server"]
    if not clusters:
        yield Finding("clusters here", "ok", "no Ray cluster runs on this machine")
    for process in clusters:
        try:
            owner, addresses = process.username(), listening_addresses(process)
        except psutil.NoSuchProcess:
            continue
        except psutil.AccessDenied:
            yield Finding("clusters here", "ok", f"process {process.pid} is the head of another user's Ray cluster")
            continue
        reachable = [address for address in addresses if not _is_loopback(address[0])]
        ports = ", ".join(str(port) for _, port in addresses)
        yield Finding(
            "clusters here",
            "warn" if reachable else "ok",
            f"process {process.pid} of {owner} is the head of a Ray cluster, port {ports}, "
            + ("which other machines can reach" if reachable else "which only this machine can reach"),
            "If nobody else needs it, start it with --node-ip-address=127.0.0.1, or end it with `ray stop`; else see "
            "that it asks for a token (docs/security.md)"
            if reachable
            else "",
        )


def listening_addresses(process: psutil.Process) -> list[tuple[str, int]]:
    """Returns where a process listens: address and port."""
    return [
        (connection.laddr.ip, connection.laddr.port)
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]


def _is_loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback
