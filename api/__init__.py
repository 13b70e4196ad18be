"""The REST API: launches runs and shows them.

`main`: the application, with every route in one list
`service`: what all endpoints share: the store, the settings, the open streams
`schema`: the base class and the common parameters of all schemas
`cursors`: where the next page of a list begins
`problems`: errors as problem documents (RFC 9457)
`security`: keys, sessions, hosts, limits of requests
`openapi`: the document for clients
`dashboard`: the static files, and the types they share with the API
Every other folder is one noun of the API: its endpoints, and its schemas where there are many.
"""
