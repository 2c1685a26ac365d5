"""What a build came to, for people: the HTML report, its figures, `mlst status`, `plan` and `inspect`."""
