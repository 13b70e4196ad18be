"""The schema.

`tables`: every table.
`columns`: the parts that tables share: names of constraints, common columns and foreign keys.
`migration`: migrates a database to this code's version.
"""
