"""Certificates for a sandbox that speaks TLS, good and bad ones."""

from __future__ import annotations

import ssl
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path


class Certificate:
    """A certificate and the authority that signed it: "good", "wrong_host", "expired", or of a host by its name."""

    def __init__(self, kind: str = "good") -> None:
        import trustme

        authority = trustme.CA()
        names = ["elsewhere.example"] if kind == "wrong_host" else ["127.0.0.1", "localhost"]
        names = [kind] if "." in kind else names
        past = datetime.now(timezone.utc) - timedelta(days=1)
        issued = authority.issue_cert(*names, not_after=past) if kind == "expired" else authority.issue_cert(*names)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issued.configure_cert(self.context)
        self._folder = tempfile.TemporaryDirectory(prefix="sandbox-ca-")
        self.ca_file = str(Path(self._folder.name) / "ca.pem")
        authority.cert_pem.write_to_path(self.ca_file)

    def remove(self) -> None:
        """Deletes the file of the authority."""
        self._folder.cleanup()
