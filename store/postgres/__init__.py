"""PostgreSQL itself.

`embedded`: the embedded server in the data directory.
`programs`: runs PostgreSQL's programs as a system user other than root.
`postmaster`: the running server according to its pid file.
`hung_server`: detects a hung server and closes the connections to it.
`errors`: translates the database's errors into eva's.
`bulk`: reads and writes many rows with COPY.
`planner`: keeps the query planner informed about a run that grows.
`values`: cleans values that Postgres cannot store.
"""
