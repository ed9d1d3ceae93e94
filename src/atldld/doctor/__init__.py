"""Is all well: this machine, the way to the service, and what the service answers."""

from atldld.doctor.model import Check, Diagnosis, Difference
from atldld.doctor.run import CONTRACT_CHECKS, diagnose

__all__ = ["CONTRACT_CHECKS", "Check", "Diagnosis", "Difference", "diagnose"]
