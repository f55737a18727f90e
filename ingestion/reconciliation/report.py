"""What a reconciliation found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Account:
    """What the ledger says of a source: events accepted, and what became of them."""

    source: str
    accepted: int
    processed: int
    quarantined: int
    duplicates: int


@dataclass(frozen=True)
class Check:
    """Two numbers that must be equal.

    Attributes:
        name: what is compared.
        subject: the source or table.
        expected, found: the numbers.
        failure: what it means if they differ.
        note: what else there is to know.
    """

    name: str
    subject: str
    expected: int
    found: int
    failure: str
    note: str = ""

    @property
    def holds(self) -> bool:
        return self.expected == self.found

    def problem(self) -> str:
        """The difference in a sentence."""
        difference = self.found - self.expected
        return f"{self.name}, {self.subject}: {abs(difference):,} too {'many' if difference > 0 else 'few'}: {self.failure}"


@dataclass(frozen=True)
class Reconciliation:
    """The outcome.

    Attributes:
        accounts: the ledger by source.
        checks: everything that was compared.
        waiting: messages in Kafka that the tables do not cover yet.
    """

    accounts: tuple[Account, ...]
    checks: tuple[Check, ...]
    waiting: int

    @property
    def holds(self) -> bool:
        return all(check.holds for check in self.checks)

    def problems(self) -> list[str]:
        """A sentence for each check that does not hold."""
        return [check.problem() for check in self.checks if not check.holds]
