"""How one hospital wants its observations: a small file beside the settings, read and checked with them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from dermanode.config.section import Section


class LocalCode(Section):
    """A code as the hospital writes it."""

    value: str = Field(..., min_length=1, description="The code.")
    meaning: str = Field("", description="What it means, in words.")
    scheme: str = Field("L", description="Its coding system; `L` is local (HL7 table 0396).")


class MappedObservation(Section):
    """One observation that is to be told in the hospital's way."""

    take: str = Field(
        ...,
        min_length=1,
        description="Which: the key of a number such as `volume_mm3`, or the value of a code such as `RISKSCORE` or `42798000`.",
    )
    code: LocalCode | None = Field(None, description="OBX-3; by default as it is.")
    type: Literal["ST", "TX"] | None = Field(None, description="OBX-2; by default as it is. A code is then told by its meaning.")
    unit: LocalCode | None = Field(None, description="OBX-6; by default as it is.")
    factor: float | None = Field(
        None, description="Numbers are multiplied by it: 0.1 makes centimetres of millimetres. Name the `unit` too."
    )
    decimals: int | None = Field(None, ge=0, le=6, description="Numbers are rounded to so many decimals.")
    values: dict[str, LocalCode] = Field({}, description="For a coded value: the hospital's code for each of ours, by its value.")

    @field_validator("factor")
    @classmethod
    def _is_a_size(cls, factor: float | None) -> float | None:
        if factor is not None and not 0 < factor < 1e6:
            raise ValueError("a factor lies above 0 and below a million")
        return factor


class Hl7Mapping(Section):
    """What an HL7 receiver gets, and under which names."""

    others: Literal["keep", "drop"] = Field(
        "keep",
        description="What becomes of observations that are not named below. The state of the analysis, what was not performed or measured, "
        "alerts, the remark on research use, and the PDF where the destination asks for it are told in any case.",
    )
    are_notes_told: bool = Field(True, description="Send NTE segments below observations.")
    procedure: LocalCode | None = Field(None, description="OBR-4; by default the order's, else dermoscopic photography.")
    diagnostic_service: str = Field("OTH", description="OBR-24 (HL7 table 0074).", max_length=10)
    observations: tuple[MappedObservation, ...] = Field((), description="In the order in which they are to be told.")
