"""Training of incomplete cross-modal and multi-modal hashing methods, and their export to ONNX bundles."""
