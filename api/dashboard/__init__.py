"""The dashboard: static files that a browser runs on top of the API.

`endpoints`: the page and its files
`vendored_packages`: fetches the libraries that the dashboard ships with
"""
