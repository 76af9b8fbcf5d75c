"""Bytes to arrays and back; the only importer of imageio."""
