import CPlatform
import SystemPackage
import WireProtocol

/// An epoll(7) instance.
///
/// Threading: any thread. Every call costs one system call; a wait costs O(events reported), however
/// many descriptors are registered.
struct EventPoll: ~Copyable, Sendable {
    private let fd: OwnedFD

    /// - Throws: EMFILE, ENFILE or ENOMEM.
    init() throws(Errno) {
        let created = gpuvm_epoll_create()
        guard created >= 0 else { throw Errno(rawValue: -created) }
        fd = OwnedFD(created)
    }

    /// Registers `descriptor`, whose events are reported as long as they hold.
    func add(_ descriptor: Int32, events: UInt32, token: UInt64) throws(Errno) {
        try Self.check(gpuvm_epoll_add(fd.rawValue, descriptor, events, token))
    }

    /// Registers `descriptor` for one report.
    ///
    /// - Throws: EBADF; EEXIST if it is registered; EPERM for a file that is always ready; ENOMEM;
    ///   ENOSPC beyond fs.epoll.max_user_watches.
    func addOnce(_ descriptor: Int32, events: UInt32, token: UInt64) throws(Errno) {
        try Self.check(gpuvm_epoll_add_once(fd.rawValue, descriptor, events, token))
    }

    /// Lets a registered `descriptor` be reported once more, at once if an event holds.
    ///
    /// - Throws: EBADF or ENOENT: the descriptor was closed, or its number is another file's.
    func rearm(_ descriptor: Int32, events: UInt32, token: UInt64) throws(Errno) {
        try Self.check(gpuvm_epoll_rearm(fd.rawValue, descriptor, events, token))
    }

    /// Ends the registration of `descriptor`; harmless if its file was closed, which ended it.
    func remove(_ descriptor: Int32) {
        _ = gpuvm_epoll_remove(fd.rawValue, descriptor)
    }

    /// Blocks until there is an event, and returns how many of `events` are filled.
    ///
    /// 0 after a signal handler ran or the time is over. `events` has room for ``batch`` of them.
    ///
    /// - Parameter milliseconds: The longest time to wait; -1 for ever.
    func wait(
        _ events: UnsafeMutableBufferPointer<gpuvm_epoll_event>, milliseconds: Int32 = -1
    ) -> Int {
        max(0, Int(gpuvm_epoll_wait(fd.rawValue, events.baseAddress, milliseconds)))
    }

    /// The most events of one ``wait(_:)``.
    static let batch = Int(GPUVM_EPOLL_BATCH)

    private static func check(_ result: Int32) throws(Errno) {
        guard result < 0 else { return }
        throw Errno(rawValue: -result)
    }
}
