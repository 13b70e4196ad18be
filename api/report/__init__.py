"""A run as one HTML page that opens from disk.

`facts`: the data that the page shows
`page`: the HTML, with style, data and script in it
"""
