"""From chapters to pages: execution, staging, Sphinx, ledger, drawings, slides."""
