"""Commands of `icegraph`, a module a topic."""

from rich.console import Console
from rich.table import Table


def print_table(table: Table) -> None:
    """Print a table whole: names and ids are copied, so that a narrow terminal must not shorten them."""
    Console(highlight=False, width=300).print(table)
