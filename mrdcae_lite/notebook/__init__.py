"""Interactive figures for notebooks and built pages."""
