"""Sends a run's figures to tracking services.

`points`: the figures that are sent, made from what is stored
`tracking`: a thread for each service, which sends them while the run plays
"""
