"""What `eva study` prints besides its progress.

- `show`: the commands `eva study show` and `eva study report`
- `view`: the report of a study on a terminal
- `markdown`: the report as Markdown
"""
