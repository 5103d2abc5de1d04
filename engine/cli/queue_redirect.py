"""`segmill queue redirect`: deliveries go to another destination of their channel."""

import click

from engine.cli.queue import REDIRECT
from engine.cli.queue_orders import Asked, order_command


@order_command("redirect", REDIRECT, click.option("--to", metavar="DEST", required=True, help="Where to."))
def command(asked: Asked, to: str) -> int:
    """Send deliveries to another destination.

    To one of the same channel, with the bytes that were made for the first, in their order, behind what waits there.
    The old delivery stays as redirected. Name messages by number, a destination as CHANNEL/DESTINATION, or search.
    """
    return asked.carry_out("redirect", verb="Redirect", done="redirected", asks=True, to=to)
