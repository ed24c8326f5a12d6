import CPlatform
import Glibc

/// Adds 1 to clients' eventfds without ever blocking, whatever the client did to them.
///
/// A full counter blocks a plain write, and O_NONBLOCK is the client's to clear; so the kernel is
/// asked to signal, through an asynchronous no-op (see `gpuvm_eventfd_signal`).
///
/// Threading: any thread.
public final class EventFDSignaller: Sendable {
    private let context: UInt64
    private let nullFD: Int32

    /// Creates the asynchronous context; one for each daemon is enough.
    ///
    /// - Throws: A system error; ENOSYS or EPERM where asynchronous I/O is not to be had.
    public init() throws(FencingError) {
        var created: UInt64 = 0
        let error = gpuvm_aio_create(64, &created)
        if error < 0 { throw .system(errno: -error, call: "io_setup") }
        nullFD = open("/dev/null", O_RDONLY | O_CLOEXEC)
        if nullFD < 0 {
            let code = errno
            gpuvm_aio_destroy(created)
            throw .system(errno: code, call: "open(/dev/null)")
        }
        context = created
    }

    deinit {
        gpuvm_aio_destroy(context)
        close(nullFD)
    }

    func signal(_ fd: Int32) {
        // An eventfd that was checked cannot refuse.
        _ = gpuvm_eventfd_signal(context, nullFD, fd)
    }
}

extension Syncobj {
    /// Has an eventfd signalled once, with the point (DRM_IOCTL_SYNCOBJ_EVENTFD).
    ///
    /// - Parameters:
    ///   - fd: Stays the caller's; a duplicate is held until the event, or until the object goes.
    ///   - flags: Empty, or ``SyncobjWait/Flags/available`` for the moment a fence is attached.
    ///   - quota: Charged with the duplicate.
    /// - Throws: EINVAL for an unknown flag or an fd that is no eventfd, EBADF for none, EMFILE.
    public func registerEventFD(
        _ fd: Int32, point: UInt64 = 0, flags: SyncobjWait.Flags = [],
        signaller: EventFDSignaller, quota: FenceFDQuota
    ) throws(FencingError) {
        guard flags.isSubset(of: .available) else {
            throw .invalidArgument("unknown eventfd flags")
        }
        let check = gpuvm_eventfd_check(fd)
        if check == -EINVAL { throw .invalidArgument("the fd is no eventfd") }
        if check < 0 { throw .system(errno: -check, call: "readlink(/proc/self/fd)") }
        try quota.take()
        let duplicate = fcntl(fd, F_DUPFD_CLOEXEC, 3)
        if duplicate < 0 {
            let code = errno
            quota.give()
            throw .system(errno: code, call: "fcntl(F_DUPFD_CLOEXEC)")
        }
        let waiter = EventFDWaiter(
            duplicate, point: point, onlyAvailable: flags.contains(.available), signaller, quota)
        if let state = listUnlessAvailable(waiter) { waiter.becameAvailable(state) }
    }
}

// @unchecked: immutable; the fd is used by the one callback and closed by the deinit.
/// One eventfd that waits for one point.
private final class EventFDWaiter: SyncobjWaiter, @unchecked Sendable {
    private let fd: Int32
    private let onlyAvailable: Bool
    private let signaller: EventFDSignaller
    private let quota: FenceFDQuota

    init(
        _ fd: Int32, point: UInt64, onlyAvailable: Bool, _ signaller: EventFDSignaller,
        _ quota: FenceFDQuota
    ) {
        self.fd = fd
        self.onlyAvailable = onlyAvailable
        self.signaller = signaller
        self.quota = quota
        super.init(point: point)
    }

    deinit {
        close(fd)
        quota.give()
    }

    override func becameAvailable(_ state: FenceChain.PointState) {
        if case .pending(let fence) = state, !onlyAvailable, fence.addCallback(self) { return }
        signaller.signal(fd)
    }

    override func fenceSignalled(_ fence: Fence) {
        signaller.signal(fd)
    }
}
