"""The running mean under every metric that is a number a frame."""


class MeanOf:
    """The mean of the numbers seen so far.

    Example:
        >>> distance = MeanOf()
        >>> distance.update(1.0)
        >>> distance.update(2.0)
        >>> distance.compute()
        1.5
    """

    def __init__(self) -> None:
        """Begin without a number."""
        self._sum, self._count = 0.0, 0

    def update(self, value: float) -> None:
        """Take in a number."""
        self._sum += value
        self._count += 1

    def compute(self) -> float:
        """Return the mean.

        Raises:
            ValueError: Before the first update.
        """
        if not self._count:
            raise ValueError("nothing was measured yet")
        return self._sum / self._count
