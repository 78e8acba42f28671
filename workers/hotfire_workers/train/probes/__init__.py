"""What is measured in a rank. Probes read; they change nothing in the training."""
