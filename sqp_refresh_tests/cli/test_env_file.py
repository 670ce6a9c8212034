"""The file `.env` that commands read, as Dagster's own do."""

import os
import subprocess
import sys

import pytest

from sqp_refresh.cli.env_file import read_env_file


def test_what_the_file_sets_prevails_and_what_it_only_names_does_not(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", {"REFRESH_LOOKBACK_WEEKS": "4", "BIGQUERY_LOCATION": "EU"})

    read_env_file()
    assert os.environ == {"REFRESH_LOOKBACK_WEEKS": "4", "BIGQUERY_LOCATION": "EU"}

    (tmp_path / ".env").write_text(
        "# mine\nREFRESH_LOOKBACK_WEEKS=6\nBIGQUERY_LOCATION\nexport REFRESH_CRON='0 3 * * *'\n"
    )
    read_env_file()

    assert os.environ == {
        "REFRESH_LOOKBACK_WEEKS": "6",
        "BIGQUERY_LOCATION": "EU",
        "REFRESH_CRON": "0 3 * * *",
    }


def test_a_file_that_is_no_text_is_an_error_in_one_line(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_bytes(b"REFRESH_CRON=\xff\xfe\n")

    with pytest.raises(SystemExit, match=r"^sqp-refresh: \.env cannot be read: .*; make it a text"):
        read_env_file()


def test_the_command_works_in_the_schema_that_the_file_names(tmp_path):
    (tmp_path / ".env").write_text("SQP_SCHEMA=sqp_next\nDATABASE_URL=mysql://somewhere\n")
    environment = {name: value for name, value in os.environ.items() if name != "SQP_SCHEMA"}

    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, sqp_refresh.cli as cli; from sqp_refresh.schema_name import SCHEMA;"
            "print(SCHEMA); sys.argv[1:] = ['status']; cli.main()",
        ],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )

    assert done.stdout.strip() == "sqp_next"
    assert "DATABASE_URL must start with postgresql://" in done.stderr
