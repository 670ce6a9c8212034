"""Name what the agency's clients sell in the demo, and what shoppers search for."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ASIN_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Line:
    """A client's products of one kind, which compete for the same queries.

    Attributes:
        noun: What shoppers call the product.
        category: Amazon's category.
        brand: The client.
        products: How many ASINs it has.
    """

    noun: str
    category: str
    brand: str
    products: int


LINES = (
    Line("water bottle", "Kitchen", "Brightwater", 34),
    Line("lunch box", "Kitchen", "Brightwater", 12),
    Line("dog bed", "Pet Supplies", "Alder & Finch", 9),
    Line("cutting board", "Kitchen", "Cobalt Row", 7),
    Line("desk organizer", "Office Products", "Cobalt Row", 6),
    Line("camping chair", "Sports & Outdoors", "Brightwater", 5),
    Line("cat tree", "Pet Supplies", "Alder & Finch", 4),
    Line("laptop stand", "Office Products", "Cobalt Row", 3),
    Line("cooler bag", "Sports & Outdoors", "Brightwater", 3),
    Line("dog leash", "Pet Supplies", "Alder & Finch", 2),
)

FEATURES = (
    *("large", "small", "mini", "extra large", "lightweight", "heavy duty", "portable", "foldable"),
    *("waterproof", "insulated", "adjustable", "washable", "collapsible", "sturdy"),
)
LOOKS = (
    *("black", "pink", "blue", "white", "grey", "green", "red", "purple"),
    *("stainless steel", "bamboo", "wooden", "leather", "clear"),
)
_WHO = (
    *("women", "men", "kids", "adults", "teens", "girls", "boys", "seniors", "beginners"),
    *("mom", "dad"),
)
_PLACES = (
    *("home", "work", "school", "travel", "college", "office", "car", "gym", "camping"),
    *("hiking", "gifts"),
)
_ENDINGS = (
    *("with lid", "with handle", "with strap", "gift", "gift set", "on sale", "made in usa", "new"),
    *(f"for {name}" for name in (*_WHO, *_PLACES)),
    *(f"under {price} dollars" for price in (10, 15, 20, 25, 30, 50)),
    *(f"set of {number}" for number in (2, 3, 4, 6)),
    *(f"{number} pack" for number in (2, 3, 4, 6, 12)),
)


def _phrases() -> Iterator[str]:
    combinations = product(["", *FEATURES], ["", *LOOKS], ["{}"], ["", *_ENDINGS])
    return (" ".join(filter(None, phrase)) for phrase in combinations)


# The fewer words, the more shoppers type them.
_PHRASES = sorted(_phrases(), key=lambda phrase: phrase.count(" "))
QUERIES_PER_LINE = len(_PHRASES)


def queries(line: Line) -> list[str]:
    """List every search query for the products of a line, the most popular first."""
    return [phrase.format(line.noun) for phrase in _PHRASES]


def asin(number: int) -> str:
    """Return the ten-character ASIN of a number below 36 to the power of `ASIN_DIGITS`."""
    digits = ""
    for _ in range(ASIN_DIGITS):
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return f"B0{digits}"


def title(line: Line, number: int) -> str:
    """Return the product title of the line's ASIN with this number."""
    adjectives_and_noun = (LOOKS[number % len(LOOKS)], FEATURES[number % len(FEATURES)], line.noun)
    return f"{line.brand} {' '.join(adjectives_and_noun).title()}, Model {number + 1}"
