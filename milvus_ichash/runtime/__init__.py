"""From features, words or pictures to hash codes: onnxruntime and numpy, never torch."""
