"""What chapters write out, to be read and compared with; no other part of the package needs it."""
