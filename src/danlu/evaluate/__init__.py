"""How good is it, how sure are we, and why: metrics, intervals, calibration, comparison, explanation."""
