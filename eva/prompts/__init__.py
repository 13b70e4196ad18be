"""Prompts and conversations in files.

`files`: prompts from files and datasets. `rows`: rows of a file, by its ending. `messages`: conversations in rows.
`text_files`: text files as they come, compressed or in UTF-16.
`uploads`: files that were sent to the service, under the digest of their content.
`conversations`: a prompt as chat messages or as plain text.
"""
