"""metta: train, checkpoint, evaluate, analyse and replay multi-agent grid-world policies."""

__version__ = "0.1.0"
