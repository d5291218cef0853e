"""One run: plan, load, fit, evaluate, bundle, report, in that order."""
