"""Keys and certificates for one run of the tests, made by openssl(1): authorities that sign, certificates that do
or do not fit."""

import ssl
import subprocess

from . import system


class Certificates:
    """A folder of NAME.crt and NAME.key."""

    made = None  # by the fixture, once for each process of tests

    def __init__(self):
        Certificates.made = self
        self.directory = system.make_directory("weir-tls-")
        for name in ("ca", "other"):
            self._openssl("req", "-x509", *self._new_key(name), "-days", "2", "-subj", f"/CN={name}",
                          "-out", self.crt(name))
        self.sign("server")
        self.sign("renewed")
        self.sign("elsewhere", names="DNS:db.example")
        self.sign("foreign", authority="other")
        for name in ("app", "other-role", "admin", "stats"):
            self.sign(name, subject=name, names="")
        self.sign("stranger", subject="app", names="", authority="other")

    def sign(self, name, subject="weir", names="DNS:localhost,IP:127.0.0.1", authority="ca"):
        request, extensions = self.path(f"{name}.csr"), self.path(f"{name}.ext")
        extensions.write_text(f"subjectAltName={names}\n" if names else "")
        self._openssl("req", *self._new_key(name), "-subj", f"/CN={subject}", "-out", request)
        self._openssl("x509", "-req", "-in", request, "-days", "2", "-CA", self.crt(authority), "-CAkey",
                      self.key(authority), "-CAcreateserial", "-extfile", extensions, "-out", self.crt(name))

    def _new_key(self, name):
        return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", self.key(name))

    def _openssl(self, *arguments):
        run = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, timeout=30)
        assert run.returncode == 0, run.stderr
        for path in self.directory.iterdir():
            system.give_to_account(path)
            path.chmod(0o600 if path.suffix == ".key" else 0o644)

    def path(self, name):
        return self.directory / name

    def crt(self, name):
        return self.path(f"{name}.crt")

    def key(self, name):
        return self.path(f"{name}.key")

    # what configurations and drivers take

    def client_side(self, sslmode="require", name="server", **more):
        """Keys of the pooler for TLS with its clients."""
        return {"client_tls_sslmode": sslmode, "client_tls_cert_file": self.crt(name),
                "client_tls_key_file": self.key(name), **more}

    def verified(self, sslmode="verify-full", name="server"):
        return self.client_side(sslmode, name, client_tls_ca_file=self.crt("ca"))

    def libpq(self, name=None, sslmode="verify-full"):
        """Arguments of a driver that trusts our authority, and shows a certificate."""
        shown = {"sslcert": str(self.crt(name)), "sslkey": str(self.key(name))} if name else {"sslcert": "/nowhere"}
        return {"sslmode": sslmode, "sslrootcert": str(self.crt("ca")), **shown}

    def context(self, name=None, version=None, alpn=None):
        """For Python's own TLS."""
        context = ssl.create_default_context(cafile=self.crt("ca"))
        if name:
            context.load_cert_chain(self.crt(name), self.key(name))
        if version:
            context.minimum_version = context.maximum_version = version
        if alpn:
            context.set_alpn_protocols([alpn])
        return context

    def unsuspecting_context(self, name):
        """Shows its certificate, and takes any."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(self.crt(name), self.key(name))
        return context

    def server_context(self, name="server"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.crt(name), self.key(name))
        return context
