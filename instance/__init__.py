"""One instance of Stockyard: the proxy with its modules, the apps beside it, one database."""

import os

# The products of small matrices that modules make on the event loop must not wait for other threads to get a processor.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
