"""`likeness uninstall`: give a project back what the migrations took from it."""
