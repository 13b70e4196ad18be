"""Model folders and what is read from them.

`model_folder`: find a model, inspect its files, estimate its memory
`chat_template`: from a prompt to token ids
`embedding`: texts as vectors
"""
