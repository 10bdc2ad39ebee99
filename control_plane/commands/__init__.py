"""The verbs of `stockyard-cloud`, one file a noun. They speak to the control plane over HTTP, as anybody could."""
