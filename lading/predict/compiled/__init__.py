"""Generated files only; see the header of each."""
