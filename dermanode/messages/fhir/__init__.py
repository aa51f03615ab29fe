"""FHIR: a case as transactions, in R4 or in R5."""
