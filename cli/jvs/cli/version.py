"""The version of jvs, as a constant: asking importlib.metadata would cost a third of what `jvs --help` may take."""

VERSION = "0.1.0"
