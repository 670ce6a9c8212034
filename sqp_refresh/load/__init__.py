"""Step 3: a week's rows into Postgres, by COPY, difference and publish, in one transaction."""

from sqp_refresh.load import indexes
from sqp_refresh.load.counts import Counts
from sqp_refresh.load.outcome import Landed, Undecided
from sqp_refresh.load.publish import publish
from sqp_refresh.load.straight import made_ready

__all__ = ["Counts", "Landed", "Undecided", "indexes", "made_ready", "publish"]
