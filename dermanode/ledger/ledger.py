"""The ledger: the one durable truth about what came, what was made of it, and where it went."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Self

from dermanode.ledger.audit import audit
from dermanode.ledger.cases import Cases
from dermanode.ledger.commitments import Commitments
from dermanode.ledger.database import Database
from dermanode.ledger.deliveries import Deliveries
from dermanode.ledger.explain import explain
from dermanode.ledger.fetches import Fetches
from dermanode.ledger.history import History
from dermanode.ledger.holdings import Holdings
from dermanode.ledger.messages import Messages
from dermanode.ledger.objects import Objects
from dermanode.ledger.orders import Orders
from dermanode.ledger.patients import Patients
from dermanode.ledger.plugin_health import Plugins
from dermanode.ledger.records import Audit
from dermanode.ledger.schema import bring_up_to_date
from dermanode.ledger.served import Served
from dermanode.ledger.spool import Spool
from dermanode.ledger.steps import Steps


def utc_now() -> datetime:
    return datetime.now(UTC)


class Ledger:
    """The parts of the record over one database. Any thread may use it; several processes may open the same one.

    Every change is one transaction that also holds the events which tell of it, and is on disk when the call returns.
    Every call may raise `LedgerUnavailable`.
    """

    def __init__(self, database: Database, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self.objects = Objects(database, clock)
        self.cases = Cases(database)
        self.deliveries = Deliveries(database)
        self.commitments = Commitments(database)
        self.steps = Steps(database)
        self.fetches = Fetches(database)
        self.holdings = Holdings(database)
        self.served = Served(database)
        self.plugins = Plugins(database)
        self.history = History(database)
        self.messages = Messages(database)
        self.orders = Orders(database)
        self.patients = Patients(database)

    @classmethod
    def open(cls, url: str, *, create: bool = True, clock: Callable[[], datetime] = utc_now) -> Self:
        """The ledger at that SQLAlchemy URL, its tables made or brought up to date.

        `create=False` refuses a place where there is none. Raises `LedgerUnavailable` with the cure.
        """
        database = Database.connect(url)
        try:
            bring_up_to_date(database, create=create)
        except BaseException:
            database.close()
            raise
        return cls(database, clock)

    @property
    def name(self) -> str:
        """The URL without its password."""
        return self._database.name

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def explain(self, name: str) -> list[str]:
        """The story, in sentences, of any SOP Instance UID (received or made), Series Instance UID or case id. Raises `UnknownSubject`."""
        return self._database.read(lambda transaction: explain(transaction, name))

    def audit(self, spool: Spool | None, *, deep: bool = False) -> Audit:
        """The proof that every accepted object is in exactly one state, and with a spool that its file is whole; `deep` reads each file."""
        return audit(self._database, spool, deep=deep)
