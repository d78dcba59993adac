"""pyarrow makes these functions when it is imported, so a checker cannot read them from its source."""

from typing import Any

def __getattr__(name: str) -> Any: ...
