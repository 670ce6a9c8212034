"""A Celery worker's tasks as in production, and one that stays as long as the worker does."""

import time

from dagster_celery.app import app

LONG_S = 3600


@app.task(track_started=True)
def stay() -> None:
    time.sleep(LONG_S)
