"""How many examples of a property hypothesis tries."""

from hypothesis import settings


def examples(number: int) -> settings:
    """The settings of a property that needs a certain number of examples in place of the usual hundred. With
    C{-m "not slow"} there are fewer, in proportion.
    """
    return settings(max_examples=number * settings().max_examples // 100)
