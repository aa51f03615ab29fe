"""Everything that DermaNode raises on purpose.

DermaNodeError
├── ConfigurationError          a setting is wrong: file, line, cure
├── IdentifierError             a UID, AE title or digest that is none
├── LedgerError                 the durable record refused something
│   ├── UnknownSubject          no object, series, case or delivery has that name
│   └── LedgerUnavailable       the database does not answer
├── SpoolError                  a file of the spool is missing, short or unwritable
├── UnreadableObject            an object that cannot be parsed or decoded
├── SourceUnavailable           a PACS that was asked does not answer, or not so that it helps
│   └── SourceRefused           it said no, and would say it again
├── QueryRefused                a question to a PACS that would not mean what it says
├── PhotographError             a photograph that cannot become a DICOM instance
├── MessageRefused              an HL7 message that is not done as it asks
├── PluginError
│   ├── PluginBroken            cannot be discovered or imported
│   ├── PluginRaised            raised in a stage
│   ├── PluginTimedOut          missed its deadline
│   ├── PluginCrashed           took its worker with it
│   ├── PluginExceededMemory    took more memory than the worker may have
│   └── WrongFinding            returned another type than its stage promises
├── BundleError                 a model bundle is missing, altered or of another version
├── DeviceOutOfMemory           a device has no memory for even one picture
├── EncodingError               a finding cannot be written as the object asked for
│   └── CannotSetPages          a library or a font is missing that a report for people needs
├── GateRefused                 an object failed the output gate
└── DeliveryError
    ├── DeliveryRefused         the destination said no, and would say it again
    └── DestinationUnavailable  the destination did not answer: try again later
"""

from __future__ import annotations


class DermaNodeError(Exception):
    """The root: its text is one sentence that names the subject and, where there is one, the cure."""


class ConfigurationError(DermaNodeError):
    """A setting that cannot be used; the text reads `file:line: what is wrong. Cure.`"""

    def __init__(self, problem: str, *, file: str | None = None, line: int | None = None, cure: str | None = None) -> None:
        self.problem, self.file, self.line, self.cure = problem, file, line, cure
        where = ":".join(str(part) for part in (file, line) if part is not None)
        text = f"{where}: {problem}" if where else problem
        if cure and not text.endswith((".", "!", "?")):
            text += "."
        super().__init__(f"{text} {cure}" if cure else text)


class IdentifierError(DermaNodeError, ValueError):
    """A text that is no UID, AE title or digest."""


class LedgerError(DermaNodeError):
    """The ledger refused something."""


class UnknownSubject(LedgerError):
    def __init__(self, subject: str) -> None:
        self.subject = subject
        super().__init__(
            f"The ledger knows no object, series, case or delivery called {subject!r}. Write its name in full (`dermanode cases` lists the "
            "cases). Where it should have come, the page Node tells who was refused, and the sender's log what was answered."
        )


class LedgerUnavailable(LedgerError):
    """The database does not answer, or is full."""


class SpoolError(DermaNodeError):
    """A file of the spool is missing, short or cannot be written."""


class UnreadableObject(DermaNodeError):
    """An object whose header or pixel data cannot be read; `subject` is its SOP Instance UID or path."""

    def __init__(self, subject: str, reason: str) -> None:
        self.subject, self.reason = subject, reason
        super().__init__(f"{subject} cannot be read: {reason}")


class SourceUnavailable(DermaNodeError):
    """A PACS that was asked for something and did not give it; the reason names no host and no patient: it is written into reports."""

    def __init__(self, source: str, reason: str) -> None:
        self.source, self.reason = source, reason
        super().__init__(f"{source} could not be asked: {reason}")


class SourceRefused(SourceUnavailable):
    """A PACS that gives nothing until somebody changes something: asking again is of no use."""


class QueryRefused(DermaNodeError):
    """A question to a PACS that would not mean what it says, such as a patient id with a wildcard."""


class PhotographError(DermaNodeError):
    """A photograph that cannot become a DICOM instance."""


class MessageRefused(DermaNodeError):
    """An HL7 message that is not done; the reason is sent to who asked, so it names no patient.

    `code` is of HL7 table 0357, `place` an ERL such as `PID^1^3`. `is_unsupported`: of a kind that no other content would cure.
    """

    def __init__(self, reason: str, *, code: str, place: str = "", is_unsupported: bool = False) -> None:
        self.reason, self.code, self.place, self.is_unsupported = reason, code, place, is_unsupported
        super().__init__(f"The message is not done: {reason}")


class PluginError(DermaNodeError):
    """A plugin, at a stage, did not do what it promised."""

    def __init__(self, plugin: str, stage: str, reason: str) -> None:
        self.plugin, self.stage, self.reason = plugin, stage, reason
        super().__init__(f"{plugin} ({stage}): {reason}")


class PluginBroken(PluginError):
    def __init__(self, plugin: str, reason: str) -> None:
        super().__init__(plugin, "discovery", reason)


class PluginRaised(PluginError):
    def __init__(self, plugin: str, stage: str, exception: BaseException) -> None:
        super().__init__(plugin, stage, f"raised {type(exception).__name__}: {exception}")


class PluginTimedOut(PluginError):
    def __init__(self, plugin: str, stage: str, limit_s: float) -> None:
        self.limit_s = limit_s
        super().__init__(plugin, stage, f"missed its deadline of {limit_s:g} s; its worker was stopped")


class PluginCrashed(PluginError):
    def __init__(self, plugin: str, stage: str, how: str) -> None:
        super().__init__(plugin, stage, f"ended its worker ({how})")


class PluginExceededMemory(PluginError):
    def __init__(self, plugin: str, stage: str, used_mib: float, limit_mib: float) -> None:
        self.used_mib, self.limit_mib = used_mib, limit_mib
        super().__init__(plugin, stage, f"took {used_mib:.0f} MiB, more than the worker's {limit_mib:.0f} MiB; its worker was stopped")


class WrongFinding(PluginError):
    def __init__(self, plugin: str, stage: str, expected: str, returned: str) -> None:
        super().__init__(plugin, stage, f"returned {returned} where the stage promises {expected}")


class BundleError(DermaNodeError):
    """A model bundle that is missing, altered or of a version that the plugin does not know."""

    def __init__(self, bundle: str, reason: str) -> None:
        self.bundle, self.reason = bundle, reason
        super().__init__(f"Bundle {bundle}: {reason}")


class DeviceOutOfMemory(DermaNodeError):
    """A device that has no memory for even one picture."""

    def __init__(self, device: str, what: str) -> None:
        self.device, self.what = device, what
        super().__init__(f"{device} has no memory for {what}. Free it, or take the device out of `engine.devices`.")


class EncodingError(DermaNodeError):
    """A finding that cannot be written as the object asked for."""


class CannotSetPages(EncodingError):
    """The machine lacks what a report for people is set with; `packages` are those of Debian or Ubuntu that bring it."""

    def __init__(self, lack: str, packages: tuple[str, ...]) -> None:
        self.lack, self.packages = lack, packages
        super().__init__(f"No pages can be set: {lack}. Install: apt-get install {' '.join(packages)}")


class GateRefused(DermaNodeError):
    """An object that failed the output gate."""

    def __init__(self, subject: str, reasons: tuple[str, ...]) -> None:
        self.subject, self.reasons = subject, reasons
        super().__init__(f"{subject} failed the output gate: {'; '.join(reasons)}")


class DeliveryError(DermaNodeError):
    def __init__(self, destination: str, reason: str) -> None:
        self.destination, self.reason = destination, reason
        super().__init__(f"{destination}: {reason}")


class DeliveryRefused(DeliveryError):
    """The destination said no, and would say it again: a dead letter."""


class DestinationUnavailable(DeliveryError):
    """The destination did not answer, or asked for another try: the outbox comes back to it, not before the time it asked for."""

    def __init__(self, destination: str, reason: str, *, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(destination, reason)
