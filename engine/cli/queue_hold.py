"""`segmill queue hold`: queued deliveries are set aside, and what is behind them goes on."""

from engine.cli.queue import HOLD
from engine.cli.queue_orders import Asked, order_command


@order_command("hold", HOLD)
def command(asked: Asked) -> int:
    """Set queued deliveries aside.

    They step out of their queue, what is behind them goes on, and they wait for: segmill queue release. One that is
    being sent at this moment is waited for first: delivered, it is no longer what was meant, and nothing is done. Name
    messages by number, a destination as CHANNEL/DESTINATION, or search.
    """
    return asked.carry_out("hold", verb="Hold", done="held", asks=not asked.wanted.is_by_number)
