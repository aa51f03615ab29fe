"""By which name and model this node is known in its objects. Apart from what writes them, so that a reader need not load that."""

MANUFACTURER = "DermaNode"
MODEL = "DermaNode"
