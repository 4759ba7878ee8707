"""One TLS context for all connections, made while `requests` is still being imported."""

from __future__ import annotations

import os
import ssl
import threading

from openrouter_usage.errors import SettingsError
from openrouter_usage.text import safe

# The same variables, in the same order, that requests and curl themselves obey.
CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class SharedContext:
    """A verifying TLS context; reading the certificate bundle releases the GIL, so it costs no wall time."""

    def __init__(self) -> None:
        """Start to read the bundle in a thread of its own."""
        self._context: ssl.SSLContext | None = None
        self._error: OSError | ModuleNotFoundError | None = None
        # Not a daemon: a process that ends while OpenSSL reads certificates ends with a segmentation fault.
        self._thread = threading.Thread(target=self._make)
        try:
            # In an exit handler nobody waits for threads any more, and the process would end in the midst of reading.
            if not threading.main_thread().is_alive():
                raise RuntimeError
            self._thread.start()
        except RuntimeError:  # no thread can begin here: their number is limited, or Python is ending
            self._make()

    def get(self) -> ssl.SSLContext:
        """Wait for the context; SettingsError when the bundle cannot be read, ModuleNotFoundError without certifi."""
        if self._thread.ident is not None:
            self._thread.join()
        if isinstance(self._error, ModuleNotFoundError):
            raise self._error
        if self._context is None:
            raise SettingsError(
                f"the TLS certificates in {safe(ca_bundle(), 300)} cannot be read",
                hint=f"unset {' and '.join(CA_VARIABLES)}, or let them name a file of PEM certificates",
            ) from self._error
        return self._context

    def _make(self) -> None:
        try:
            bundle = ca_bundle()
            folder = os.path.isdir(bundle)
            self._context = ssl.create_default_context(
                cafile=None if folder else bundle, capath=bundle if folder else None
            )
        except (OSError, ModuleNotFoundError) as error:
            self._error = error


def ca_bundle() -> str:
    """Name the file or folder of trusted certificates."""
    for variable in CA_VARIABLES:
        if os.environ.get(variable):
            return os.environ[variable]
    import certifi

    return certifi.where()
