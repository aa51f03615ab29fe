"""Codecs between DICOM and the domain."""
