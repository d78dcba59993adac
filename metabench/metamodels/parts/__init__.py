"""Parts that several meta-models share; the folder above holds plug-ins alone."""
