"""Training on a machine that has JAX and no TensorFlow, of what TensorFlow compiles."""
