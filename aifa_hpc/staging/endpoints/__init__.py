"""The places files are copied from and to, behind one interface."""
