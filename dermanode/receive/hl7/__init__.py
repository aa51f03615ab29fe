"""HL7 v2 in: orders, patients' changes and merges, over MLLP."""
