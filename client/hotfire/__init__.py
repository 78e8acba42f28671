"""Hotfire: a few real steps of your training job before it takes the cluster."""

__version__ = "0.1.0"
