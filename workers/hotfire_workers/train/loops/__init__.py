"""The training loops of a trial: the HF Trainer, our engine loop, each with its reference."""
