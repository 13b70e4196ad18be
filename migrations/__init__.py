"""Alembic migrations of eva's store. `store.schema.migration` runs them; they need no alembic.ini."""
