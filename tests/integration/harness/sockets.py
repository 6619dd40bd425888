"""What the kernel knows of sockets: the options of another process's, and a port where nobody answers."""

import contextlib
import ctypes
import os
import socket
import struct

PIDFD_GETFD = 438
LISTEN_BACKLOG_AT = 28  # tcpi_sacked of struct tcp_info, which is the backlog where the socket listens

_libc = ctypes.CDLL(None, use_errno=True)


def sockets_of(pid):
    """Duplicates of all sockets of the process; PermissionError where the machine forbids it."""
    found = []
    process = os.pidfd_open(pid)
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                if not os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:"):
                    continue
            except FileNotFoundError:
                continue  # closed since
            copy = _libc.syscall(PIDFD_GETFD, process, int(name), 0)
            if copy >= 0:
                found.append(socket.socket(fileno=copy))
            elif ctypes.get_errno() == 1:
                raise PermissionError("pidfd_getfd")
    finally:
        os.close(process)
    return found


def can_look():
    """Whether this machine lets one process look at the sockets of another."""
    try:
        for one in sockets_of(os.getpid()):
            one.close()
        return os.geteuid() == 0
    except (OSError, AttributeError):
        return False


def _port(address):
    return address[1] if isinstance(address, tuple) else None


def _is_peer(one, port):
    try:
        return _port(one.getpeername()) == port
    except OSError:
        return False


def _listens(one, port):
    return _port(one.getsockname()) == port and one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)


def option(pid, level, name, to=None, listens_on=None):
    """An option of the process's one socket that is connected to a port or listens on one."""
    ours = sockets_of(pid)
    try:
        fitting = [one for one in ours if (_is_peer(one, to) if to else _listens(one, listens_on))]
        assert fitting, "no such socket"
        if name == socket.TCP_INFO:
            return struct.unpack_from("=I", fitting[0].getsockopt(level, name, 104), LISTEN_BACKLOG_AT)[0]
        return fitting[0].getsockopt(level, name)
    finally:
        for one in ours:
            one.close()


@contextlib.contextmanager
def full_house(port):
    """A port where connections are neither taken nor refused: nobody accepts, and the queue is full."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(socket.create_server(("127.0.0.1", port), backlog=0))
        for _ in range(3):
            guest = stack.enter_context(socket.socket())
            guest.setblocking(False)
            guest.connect_ex(("127.0.0.1", port))
        yield
