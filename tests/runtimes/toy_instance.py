"""A stand-in for an instance: listens on its socket, ends with 0 on SIGTERM, or not at all when told so."""

import os
import signal
import socket
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    if os.environ.get("TOY_STUBBORN"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    path = Path(sys.argv[sys.argv.index("--uds") + 1])
    data = Path(sys.argv[sys.argv.index("--data") + 1])
    (data / "environment").write_text("\n".join(sorted(os.environ)))
    path.unlink(missing_ok=True)
    print("preparing\nlistening\nready", flush=True)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        said = 0
        while not os.environ.get("TOY_ENDS"):
            time.sleep(0.05)
            if os.environ.get("TOY_TALKS"):
                said += 1
                print("said", said, flush=True)
        sys.exit(7)
