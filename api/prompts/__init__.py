"""Prompts, where they come from, and why they were trained on.

`endpoints`: lists, one prompt, its responses, its family
`parameters`: what a list may be filtered by
`families`: what each seed prompt grew into
`difference`: what an evolution changed, word by word
`reasons`: why a prompt was trained on, in sentences
"""
