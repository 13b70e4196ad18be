"""The OpenAPI document.

`document`: the document as it is committed
`links`: what generated clients need beyond paths and schemas: security, and links between operations
"""
