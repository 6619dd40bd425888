"""What takes connections on a free port of the loopback, each on a thread of its own, until it is left."""

import socket
import threading

from .system import free_port


class Accepting:
    def __init__(self):
        self.port = free_port()
        self._ends = []
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=256)
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._ends:
            end.close()

    def serve(self, link):
        """For whoever inherits; closes the link."""
        raise NotImplementedError

    def _accept(self):
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            self._ends.append(link)
            threading.Thread(target=self.serve, args=(link,), daemon=True).start()
