"""Sends the messages of webhooks.

`checked_post`: one request, to an address that was checked
`sender`: sends what is due, and tries again what was not accepted
"""
