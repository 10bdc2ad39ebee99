"""The check-up of a hosted service: what is wrong, why it matters, and how to mend it. One concern, one file."""
