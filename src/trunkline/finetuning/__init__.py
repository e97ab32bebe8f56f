"""Fine-tuning: a new head on the frozen backbone, then the last layers at a small learning rate; the result is a backbone file."""
