"""The jvs command: one small module per verb."""
