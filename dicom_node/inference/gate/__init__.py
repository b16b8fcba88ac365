"""The gate: which engine may serve a model, shown by its verification cases against the fp32 reference."""
