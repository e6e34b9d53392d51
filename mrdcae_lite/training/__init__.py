"""Training with Keras: layers, model, objective and the training run.

The only sub-package that imports Keras; `augmentation` is plain NumPy.
"""
