"""Prompts in two dimensions, near where their words are alike. docs/decisions/0017 says why it is done so.

Letters: P prompts, L landmarks, V grams of the vocabulary, D dimensions of meaning, K neighbours.
"""
