"""Who may send which request, and which requests are refused before any endpoint sees them.

`access`: API keys, browser sessions, and the scope that each request needs
`attempts`: a limit of failed attempts per address
`guards`: hosts, origins, sizes of bodies, security headers
"""
