"""The frozen codec in NumPy: networks, context model, encoder and decoder."""
