"""Source -> Video: yt-dlp, HTTP, spans of a file, and what may go wrong."""
