"""Queries about webhooks, which tell others about runs.

`webhooks`: adds, lists and removes webhooks.
`deliveries`: the messages of each webhook: waiting, delivered, given up.
"""
