"""Parts that several baselines share; the folder above holds plug-ins alone."""
