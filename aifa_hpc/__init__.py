"""From a laptop or data lab to a running training on LUMI and JUPITER."""

__version__ = "0.1.0"
