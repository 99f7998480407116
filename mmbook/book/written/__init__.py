"""What chapters write out, to be read and compared with: methods, measurements and arithmetic that only they use."""
