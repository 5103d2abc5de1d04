"""`segmill queue skip`: deliveries are given up with a reason, which is kept."""

from engine.cli.command import misuse
from engine.cli.queue import SKIP
from engine.cli.queue_orders import Asked, order_command


@order_command("skip", SKIP)
def command(asked: Asked) -> int:
    """Give deliveries up, with a reason.

    Queued and held ones become failed and are not sent; the reason stays with them and in the audit. They can still be
    released. Name messages by number, a destination as CHANNEL/DESTINATION, or search.
    """
    if not asked.reason.strip():
        raise misuse("say why: --reason TEXT; it is kept with what is given up")
    return asked.carry_out("skip", verb="Give up", done="given up", asks=True)
