"""Codecs from a case to HL7 v2 and FHIR. `hl7` and `fhir` are heavy: only a worker imports them."""
