"""What the sizes of a cell and of its attention come from."""

from __future__ import annotations

#: cell → gates, each of them a linear map of the inputs, the state and a constant
GATES = {"lstm": 4, "gru": 3}
#: numbers that a state and a source token are compared by in additive attention
COMPARED = 16
#: tokens of a target
NONE, END = 0, 1
