"""pyarrow is compiled and has no types: all that it offers is Any."""

from typing import Any

def __getattr__(name: str) -> Any: ...
