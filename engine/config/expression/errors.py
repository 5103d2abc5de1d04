"""What can go wrong with an expression: at compile time only, but for one case."""


class ExpressionError(ValueError):
    """The text is no expression of this language.

    `column` is 0-based in the expression's text and `length` the number of characters that are
    wrong (at least 1, for the caret line); `message` is a sentence, `hint` the next action or ''.
    """

    def __init__(self, message: str, column: int, hint: str = "", length: int = 1) -> None:
        super().__init__(f"{message} ({hint})" if hint else message)
        self.message = message
        self.column = column
        self.hint = hint
        self.length = max(1, length)


class ValueTooLong(ValueError):
    """A function would build a text longer than `limits.MAX_BUILT_CHARS`: the only error at run time.

    Says which function, never which value.
    """
