import Fencing
import Glibc
import WireProtocol

/// The descriptor of `--ready-fd`: whoever started the daemon reads from its other end until clients
/// can connect, or sees the end of the stream if the daemon does not start.
///
/// Threading: any thread.
final class ReadyNotification: Sendable {
    private let fd: Guarded<OwnedFD?>

    /// Takes over an inherited descriptor, if it is one above 2 that is open for writing.
    init(inherited number: Int32?) {
        guard let number, number > 2 else {
            fd = Guarded(.leaf, nil)
            return
        }
        let flags = fcntl(number, F_GETFL)
        guard flags >= 0, flags & O_ACCMODE != O_RDONLY,
            fcntl(number, F_SETFD, FD_CLOEXEC) == 0
        else {
            fd = Guarded(.leaf, nil)
            return
        }
        fd = Guarded(.leaf, OwnedFD(number))
    }

    /// Whether somebody waits.
    var isArmed: Bool { fd.withLock { $0 != nil } }

    /// Writes `ready` and closes the descriptor. A reader that has gone is no error.
    func send() {
        guard let fd = fd.withLock({ $0.take() }) else { return }
        let text = "ready\n"
        _ = text.withCString { write(fd.rawValue, $0, text.utf8.count) }
    }
}
