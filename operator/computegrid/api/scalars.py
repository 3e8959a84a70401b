"""The scalar types of the API: names, label parts, decimal strings, quantities, counts, times.

Each has its bounds here, so that every string has a longest length and every number a largest value,
in the models and in the CRDs alike.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime, Field, WithJsonSchema
from pydantic.fields import FieldInfo

from computegrid.api import quantity

MAX_INT32: Final = 2**31 - 1
MAX_SAFE_INTEGER: Final = 2**53 - 1  # the largest that every JSON reader keeps exact

_LABEL: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN: Final = rf"{_LABEL}(\.{_LABEL})*"
_WORD: Final = r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
# A part of a path that is neither empty, nor `.`, nor `..`.
_PATH_PART: Final = r"([^/.][^/]*|\.[^/.][^/]*|\.\.[^/]+)"
DNS_LABEL: Final = rf"^{_LABEL}$"
_DNS_SUBDOMAIN: Final = rf"^{_SUBDOMAIN}$"
_LABEL_KEY: Final = rf"^({_SUBDOMAIN}/)?{_WORD}$"
_LABEL_VALUE: Final = rf"^({_WORD})?$"
_RESOURCE_NAME: Final = rf"^{_SUBDOMAIN}/{_WORD}$"
_QUANTITY: Final = r"^[0-9]{1,15}(\.[0-9]{1,9})?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"


def text(longest: int, *, shortest: int = 0, pattern: str | None = None) -> FieldInfo:
    """Bounds of a string, to stand in ``Annotated``."""
    bounds: FieldInfo = Field(min_length=shortest or None, max_length=longest, pattern=pattern)
    return bounds


def between(least: int, most: int) -> FieldInfo:
    """Bounds of an integer, both included, to stand in ``Annotated``."""
    bounds: FieldInfo = Field(ge=least, le=most)
    return bounds


def _readable(value: int | str) -> int | str:
    if quantity.exact(value) < 0:
        raise ValueError("must not be negative")
    return value


# Names of objects. Ours become label values and metric labels, hence the length of a label.
DNSLabel = Annotated[str, text(63, shortest=1, pattern=DNS_LABEL)]
DNSSubdomain = Annotated[str, text(253, shortest=1, pattern=_DNS_SUBDOMAIN)]
# A key in a ConfigMap or a Secret.
DataKey = Annotated[str, text(253, shortest=1, pattern=r"^[-._a-zA-Z0-9]+$")]

LabelKey = Annotated[str, text(317, shortest=1, pattern=_LABEL_KEY)]
LabelValue = Annotated[str, text(63, pattern=_LABEL_VALUE)]
RegionName = Annotated[str, text(63, shortest=1, pattern=_LABEL_VALUE)]
ResourceName = Annotated[str, text(317, shortest=3, pattern=_RESOURCE_NAME)]

# A word of a command line; scripts are passed this way too.
Argument = Annotated[str, text(16_384)]
# A path that stays below where it starts.
RelativePath = Annotated[str, text(512, shortest=1, pattern=rf"^{_PATH_PART}(/{_PATH_PART})*$")]

# Exact decimals travel as strings: prices, compute units, petaflops. `computegrid.api.quantity` reads them.
DecimalString = Annotated[str, text(24, shortest=1, pattern=r"^[0-9]{1,12}(\.[0-9]{1,9})?$")]
# Compute units of a quota: at most a thousand million, in thousandths.
ComputeUnits = Annotated[str, text(13, shortest=1, pattern=r"^[0-9]{1,9}(\.[0-9]{1,3})?$")]
# A part of one device, in thousandths.
DeviceShare = Annotated[str, text(5, shortest=3, pattern=r"^0\.([1-9][0-9]{0,2}|0[1-9][0-9]?|00[1-9])$")]
SignedDecimalString = Annotated[str, text(32, shortest=1, pattern=r"^-?[0-9]{1,15}(\.[0-9]{1,9})?$")]

# A Kubernetes quantity that a request may have: not negative, no exponent, at most 28 characters.
Quantity = Annotated[
    int | str,
    AfterValidator(_readable),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
            "minimum": 0,
            "maximum": MAX_SAFE_INTEGER,
            "maxLength": 28,
            "pattern": _QUANTITY,
        }
    ),
]
# The number or the name of a port of a container.
Port = Annotated[
    int | str,
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
            "minimum": 1,
            "maximum": 65535,
            "maxLength": 15,
            "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        }
    ),
]

Count = Annotated[int, between(0, 100_000_000)]
Total = Annotated[int, between(0, MAX_SAFE_INTEGER)]
Generation = Annotated[int, between(0, MAX_SAFE_INTEGER)]
Time = Annotated[AwareDatetime, WithJsonSchema({"type": "string", "format": "date-time", "maxLength": 40})]

Labels = Annotated[dict[str, LabelValue], Field(max_length=32)]
