"""Model folders and what is read from them.

`model_folder`: find a model, inspect its files, estimate its memory
`model_shape`: its dimensions, before its weights are fetched
`prompting_check`: whether templates and tokenizers can work
`hub`: publish a model's folder on the hub
`chat_template`: from a prompt to token ids
`attention`: which implementation of attention a model is loaded with
`embedding`: texts as vectors
`classifier`: categories of prompts, zero-shot
"""
