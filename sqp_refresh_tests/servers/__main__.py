"""Fetch the servers that the tests of other versions of Postgres run on (`make servers`)."""

from rich.console import Console

from sqp_refresh_tests.servers.builds import BUILDS, NotToBeHad, fetch

console = Console(highlight=False, soft_wrap=True)


def main() -> None:
    """Fetch each of them; one that is not to be had is named, and its tests are skipped."""
    for version in BUILDS:
        try:
            fetch(version)
        except NotToBeHad as reason:
            console.print(f"Postgres {version} is not tested here: {reason}", markup=False)


if __name__ == "__main__":
    main()
