"""For one's own data: which hyperparameters to train with, and training with them."""
