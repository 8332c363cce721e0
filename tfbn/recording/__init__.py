"""Records of what a run measured, when it measures, and TensorBoard summaries."""
