"""The tables of the service itself: who may ask."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Identity, Integer, LargeBinary, Text, UniqueConstraint

from store.schema import NOW, Time, table

api_keys = table(
    "api_keys",
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("prefix", Text, nullable=False),  # the part of a key that one may show
    Column("name", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("salt", LargeBinary, nullable=False),
    Column("digest", LargeBinary, nullable=False),  # eva.keys.key_digest
    Column("created_at", Time, nullable=False, server_default=NOW),
    Column("expires_at", Time),
    Column("last_used_at", Time),  # the beginning of the hour
    Column("revoked_at", Time),
    UniqueConstraint("prefix"),
    CheckConstraint("scope IN ('read', 'write', 'admin')", "scope"),
)
