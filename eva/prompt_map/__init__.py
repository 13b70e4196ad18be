"""A map of prompts: prompts with similar words lie near each other. docs/decisions/0017 gives the reasons.

`tfidf`: texts as vectors. `tsne`: landmarks on a plane. `projection`: fits the map, places prompts, measures fidelity.

Letters: P prompts, L landmarks, V n-grams of the vocabulary, D dimensions of meaning, K neighbours.
"""
