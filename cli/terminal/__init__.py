"""The terminal: how text, figures and progress are shown.

- `safe_text`: text from models and users, without control characters
- `formats`: figures, stages and tables
- `check_progress`: the progress of the checks of a new run
- `progress`: the progress of a run that plays
- `log_file`: the log file that takes what libraries print
"""
