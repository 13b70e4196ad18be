"""Webhooks: what receivers are told about runs, how a message is signed, and which addresses may receive it.

`messages`: the topics, the message about an event, and its forms
`signature`: the signature of a message, as Standard Webhooks defines it
`addresses`: the URLs and network addresses that may receive messages
"""
