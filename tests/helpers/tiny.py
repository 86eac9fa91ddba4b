"""Settings of the smallest networks that still have every part."""

NETWORKS = {
    "batch_size": 8,
    "analysis_width": 0.03,
    "synthesis_width": 0.03,
    "code_size": 4,
    "mapping_layers": 2,
    "volume_size": 8,
    "volume_features": 3,
}
