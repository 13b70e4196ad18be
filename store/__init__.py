"""The store: everything that eva keeps in Postgres. All queries are here, and nowhere else.

`schema`: the tables, and the migration to this code's version.
`postgres`: the embedded server, the database's errors, bulk COPY, values that Postgres can store.
`rows`: the rows that queries return.
`session`: opens the database, and runs transactions.
`webhooks`: queries about webhooks and their deliveries.
`runs`: queries about runs and what belongs to them: stages, leases, launches, events, exports, API keys.
`game`: queries about the game: prompts, responses, pools, batches, pairs, checkpoints, held-out prompts.
`views`: queries for reading: pages, reports, comparisons, statistics, exports.
"""
