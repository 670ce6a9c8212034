"""Every setting has the documented default, and a malformed one is a clear error."""

from datetime import date

import pytest

from sqp_refresh.errors import SettingsError
from sqp_refresh.settings import Settings

PASSWORD = "hunter2-of-the-database"


def test_defaults_are_those_of_the_documentation():
    settings = Settings.read()

    assert settings.BIGQUERY_SOURCE_TABLE == "seller-search_query_performance"
    assert settings.REFRESH_BATCH_SIZE == 50_000
    assert settings.SQP_MARKETPLACE == "US"
    assert settings.REFRESH_TIMEOUT_WARNING_MS == 240_000
    assert settings.REFRESH_CRON == "0 2 * * *"
    assert settings.REFRESH_LOOKBACK_WEEKS == 9
    assert date(2024, 8, 18) == settings.REFRESH_START_DATE


def test_an_empty_variable_counts_as_not_set(monkeypatch):
    monkeypatch.setenv("REFRESH_BATCH_SIZE", "")

    assert Settings.read().REFRESH_BATCH_SIZE == 50_000


@pytest.mark.parametrize("value", ["postgres://u:p@h/d", " postgresql://u:p@h/d\n"])
def test_both_names_of_the_scheme_and_space_around_it_are_accepted(monkeypatch, value):
    monkeypatch.setenv("DATABASE_URL", value)

    assert Settings.read().database_url == value.strip()


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("REFRESH_BATCH_SIZE", "many", "valid integer"),
        ("REFRESH_BATCH_SIZE", "0", "greater than 0"),
        ("REFRESH_LOOKBACK_WEEKS", "-1", "greater than 0"),
        ("REFRESH_START_DATE", "2024-08-19", "must be a Sunday; the week of 2024-08-19 opens on"),
        ("REFRESH_START_DATE", "soon", "valid date"),
        ("REFRESH_START_DATE", "0001-01-01", "greater than or equal to 1000-01-01"),
        ("REFRESH_START_DATE", "9999-12-31", "less than or equal to 9000-01-01"),
        ("REFRESH_EXECUTOR", "threads", "'in_process' or 'multiprocess'"),
        ("BIGQUERY_MAX_BYTES_BILLED", "1e9x", "valid integer"),
        ("BIGQUERY_DATASET", "dataset.", "bare name"),
        ("BIGQUERY_DATASET", "project:dataset", "bare name"),
        ("BIGQUERY_SOURCE_TABLE", "a`b", "bare name"),
        ("BIGQUERY_PROJECT_ID", "'my-project'", "must be the ID of a project"),
        ("BIGQUERY_PROJECT_ID", "projects/p", "must be the ID of a project"),
        ("REFRESH_WEBHOOK_URL", f"ftp://u:{PASSWORD}@h", "must start with https://"),
        ("REFRESH_WEBHOOK_SECRET", f"whsec_{PASSWORD}!", "must be base64 after whsec_"),
        ("REFRESH_NOTIFY_URLS", PASSWORD, "must be addresses like slack://"),
        ("REFRESH_ALERT_EVENTS", "refresh.fail", "knows no 'refresh.fail'; choose from refresh."),
        ("DATABASE_URL", f"mysql://u:{PASSWORD}@h/d", "must start with postgresql://"),
        ("DATABASE_URL", f"postgresql+psycopg2://u:{PASSWORD}@h/d", "not with postgresql+psycopg2"),
        ("DATABASE_URL", f"jdbc:postgresql://h/d?password={PASSWORD}", "not with jdbc:postgresql"),
        ("DATABASE_URL", f"'postgresql://u:{PASSWORD}@h/d'", "without quotes"),
        ("DATABASE_URL", f"u:{PASSWORD}@h/d", "must start with postgresql://"),
    ],
)
def test_a_malformed_value_is_one_line_that_names_the_variable(monkeypatch, name, value, remedy):
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError) as caught:
        Settings.read()

    message = str(caught.value)
    assert message.startswith(name)
    assert remedy in message
    assert "\n" not in message
    assert PASSWORD not in message


@pytest.mark.parametrize("attribute", ["database_url", "source_table"])
def test_a_missing_value_is_one_line_that_names_the_variable(attribute):
    with pytest.raises(SettingsError, match=r"^[A-Z_]+ is not set; set it to "):
        getattr(Settings.read(), attribute)


def test_a_secret_is_never_shown(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", f"postgresql://u:{PASSWORD}@h/d")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS_JSON", f'{{"private_key": "{PASSWORD}"}}')
    monkeypatch.setenv("REFRESH_WEBHOOK_SECRET", PASSWORD)
    monkeypatch.setenv("REFRESH_WEBHOOK_URL", f"https://u:{PASSWORD}@h")
    monkeypatch.setenv("REFRESH_NOTIFY_URLS", f"mailto://u:{PASSWORD}@h")

    assert PASSWORD not in repr(Settings.read())
    assert PASSWORD not in str(Settings.read())
    assert PASSWORD not in repr(Settings.read().receivers)


@pytest.mark.parametrize("separator", [" ", ",", " , ", "\n"])
def test_receivers_are_named_after_their_service(monkeypatch, separator):
    urls = ["slack://a/b", "mailto://u:p@h?to=x@h,y@h", "Slack://c/d", "https://discord.example/w"]
    monkeypatch.setenv("REFRESH_WEBHOOK_URL", "https://h/hook")
    monkeypatch.setenv("REFRESH_NOTIFY_URLS", separator.join(urls))

    receivers = {name: url.get_secret_value() for name, url in Settings.read().receivers.items()}

    assert receivers == dict(
        zip(
            ["REFRESH_WEBHOOK_URL", "slack", "mailto", "slack 2", "https"],
            ["https://h/hook", *urls],
            strict=True,
        )
    )


def test_there_is_no_receiver_by_default():
    assert Settings.read().receivers == {}
