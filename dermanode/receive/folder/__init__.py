"""Watched folders: photographs that a dermatoscope writes as files become DICOM objects, each once."""
