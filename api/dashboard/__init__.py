"""The dashboard: static files that a browser runs on top of the API.

`endpoints`: the page and its files
`page_files`: the page with its scripts and styles joined, at addresses that change with their content
`script_bundle`: the dashboard's modules as a few scripts
`vendored_packages`: fetches the libraries that the dashboard ships with
"""
