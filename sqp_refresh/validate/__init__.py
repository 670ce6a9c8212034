"""Step 2: every row against its contract; good ones go on to load, bad ones to quarantine."""

from sqp_refresh.validate.sieve import Refused, Sieve, Sifted, rejection, sifted

__all__ = ["Refused", "Sieve", "Sifted", "rejection", "sifted"]
