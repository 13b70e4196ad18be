"""The Alembic migrations of eva's store.

`env`: runs them on the connection of `store.schema.migration`, without an alembic.ini.
`versions`: one file per migration.
"""
