"""Cross-play: policies that share worlds, who does well with whom, and ratings."""
