"""The browser of the machine that pages are looked at with."""

import shutil

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
"""Path of its program, None where there is none."""
