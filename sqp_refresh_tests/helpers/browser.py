"""Find the browser of the machine."""

import shutil

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
"""Path of its program, None where there is none."""
