"""Fine-tuning a net on one's own labels."""
