"""Reports as HTML pages that need nothing else, and the figures in them. They draw: matplotlib is slow to import."""
