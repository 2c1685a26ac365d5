"""One request budget for everybody who asks a site."""
