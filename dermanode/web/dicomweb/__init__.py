"""The node as a DICOMweb server (PS3.18): STOW-RS, QIDO-RS and WADO-RS under /dicom-web."""
