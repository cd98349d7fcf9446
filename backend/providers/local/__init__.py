"""An acoustic match of a sample, never a likeness: espeak-ng moved to its pitch, spectrum and pace."""
