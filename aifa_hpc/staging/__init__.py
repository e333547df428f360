"""Copies of files between machines and object stores: resumable, verified, in parts."""
