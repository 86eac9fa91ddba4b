"""How good a run is: calibration, scores, published protocols, reports and cards."""
