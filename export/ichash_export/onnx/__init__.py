"""Exporting: from a trained model to a bundle whose ONNX graph was held against torch."""
