"""A run as one page that opens from disk: the dashboard's own modules over kept facts."""
