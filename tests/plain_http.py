"""What clients of tests are built with: none of them speaks TLS, and each would else read the machine's certificates for 30 ms."""

import ssl

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
