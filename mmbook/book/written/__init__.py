"""What chapters write out to be read and compared with, and what training itself does not use."""
