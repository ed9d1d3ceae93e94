"""The published interface of atldld 0.3, with its own formulas, on top of what is here."""
