"""Training with Keras; `augmentation` and `complexity` are plain arithmetic."""
