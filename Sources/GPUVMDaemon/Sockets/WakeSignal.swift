import CPlatform
import SystemPackage
import WireProtocol

/// An eventfd by which one thread wakes another out of poll(2) or epoll_wait(2).
///
/// Threading: ``wake()`` from any thread, ``drain()`` from the one that waits.
struct WakeSignal: ~Copyable, Sendable {
    private let fd: OwnedFD

    /// - Throws: EMFILE, ENFILE or ENOMEM.
    init() throws(Errno) {
        let created = gpuvm_wake_create()
        guard created >= 0 else { throw Errno(rawValue: -created) }
        fd = OwnedFD(created)
    }

    /// The descriptor that becomes readable.
    var rawValue: Int32 { fd.rawValue }

    /// Makes ``rawValue`` readable.
    func wake() { gpuvm_wake_set(fd.rawValue) }

    /// Takes all wake-ups back.
    func drain() { gpuvm_wake_clear(fd.rawValue) }
}
