"""What a person starts from: a recipe with comments, or a recipe made for a list or a folder."""
