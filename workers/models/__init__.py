"""Model folders and what is read from them.

`model_folder`: find a model, inspect its files, estimate its memory
`hub`: publish a model's folder on the hub
`chat_template`: from a prompt to token ids
`embedding`: texts as vectors
"""
