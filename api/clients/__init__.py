"""What clients of the API are made from; each module prints its document.

`openapi_document`: the OpenAPI document, as it is committed
`declarations`: the types of the dashboard's scripts
"""
