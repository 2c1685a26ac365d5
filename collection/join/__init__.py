"""Parts of a corpus, built on their own, become one dataset."""
