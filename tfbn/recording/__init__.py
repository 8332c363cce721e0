"""What a run measured, and when: records, cadences, TensorBoard summaries."""
