"""Where services live: one protocol (``base``), one module for each kind of target."""
