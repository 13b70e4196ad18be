"""The REST API: launches runs and shows them.

`main`: the application, with every route in one list
`service`: what all endpoints share: the store, the settings, the open streams
`schema`: the base class and the common parameters of all schemas
`parameters`: refuses query parameters that a path does not know
`cursors`: where the next page of a list begins
`map_cache`: the maps of prompts that were requested last
`problems`: errors as problem documents (RFC 9457)
`security`: keys, sessions, hosts, limits of requests
`examples`: an example of every schema
`openapi`: completes the OpenAPI document; `clients`: prints it, and types for the dashboard
`dashboard`: the static files
Every other folder is one noun of the API: its endpoints, and its schemas where there are many.
"""
