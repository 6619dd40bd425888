"""The client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), for Wire."""

import base64
import hashlib
import hmac
import os


class ScramClient:
    def __init__(self, password, header=b"n,,", data=b"", mechanism="SCRAM-SHA-256"):
        self.header, self.data, self.mechanism = header, data, mechanism
        self.password = password.encode()
        self.nonce = base64.b64encode(os.urandom(18)).decode()

    def first(self):
        self.bare = f"n=,r={self.nonce}"
        return self.header + self.bare.encode()

    def final(self, server_first):
        """The client's last word, in answer to the server's first."""
        fields = dict(part.split("=", 1) for part in server_first.decode().split(","))
        assert fields["r"].startswith(self.nonce)
        self.iterations = int(fields["i"])
        salted = hashlib.pbkdf2_hmac("sha256", self.password, base64.b64decode(fields["s"]), self.iterations)
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        bound = base64.b64encode(self.header + self.data).decode()
        without_proof = f"c={bound},r={fields['r']}"
        signed = f"{self.bare},{server_first.decode()},{without_proof}".encode()
        signature = hmac.digest(hashlib.sha256(client_key).digest(), signed, "sha256")
        proof = bytes(a ^ b for a, b in zip(client_key, signature))
        server_key = hmac.digest(salted, b"Server Key", "sha256")
        self.expected = base64.b64encode(hmac.digest(server_key, signed, "sha256"))
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def verify(self, server_final):
        assert server_final.split(b",")[0] == b"v=" + self.expected, "the server does not know the secret"
