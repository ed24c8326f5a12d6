import CPlatform
import Glibc

/// Watches the daemon's ends of exported fence fds.
///
/// Threading: called without locks, from any thread; calls the registry back from any thread.
public protocol FenceFDMonitor: AnyObject, Sendable {
    /// Watch `fd` for hang-up and nothing else (epoll: an event mask of 0), and call
    /// ``FenceFDRegistry/peerClosed(token:)`` with `token` when it comes.
    func watch(fd: Int32, token: UInt64) throws(FencingError)
    /// Stop watching; `fd` is closed right after.
    func unwatch(fd: Int32, token: UInt64)
}

/// What an incoming fd stands for.
public enum FenceFDObject: Sendable {
    /// A sync_file: a snapshot of one fence.
    case fence(Fence)
    /// A syncobj fd: the object itself.
    case syncobj(Syncobj)
}

// @unchecked: `entries` is guarded by `lock`.
/// The fds that stand for fences and sync objects, and how they are recognised when they come back.
///
/// Each is one end of a socket pair of its own, whose other end stays here. Source: DESIGN decision
/// 3, drivers/dma-buf/sync_file.c and drm_syncobj_get_fd.
/// - A *sync_file* is a snapshot of a fence; when that signals, the daemon's end is shut down for
///   writing, and the client's polls readable (POLLIN) for ever.
/// - A *syncobj fd* is the object. It never polls readable.
///
/// An incoming fd is recognised by its open socket (inode and SO_COOKIE), never by its number. What
/// clients write to their end is thrown away by the kernel. A client that shuts its end down makes
/// that one fd look signalled to poll(2), and unknown here; neither the fence nor any other fd of it
/// changes. The object is held until the last copy of the fd, in any process or under way, is closed.
///
/// Threading: any thread.
public final class FenceFDRegistry: @unchecked Sendable {
    struct Identity: Hashable {
        let inode: UInt64
        let cookie: UInt64
    }

    private let lock = Lock(.fenceFD)
    private let monitor: any FenceFDMonitor
    /// By the cookie of the client's end, which is also the monitor's token.
    private var entries: [UInt64: FenceFDEntry] = [:]

    /// Creates an empty registry; it starts no thread, `monitor` tells it of closed fds.
    public init(monitor: any FenceFDMonitor) {
        self.monitor = monitor
    }

    deinit {
        for entry in entries.values { entry.close() }
    }

    /// The number of exported fds that some process holds.
    public var count: Int { lock.withLock { entries.count } }

    /// Makes a sync_file of `fence`.
    ///
    /// - Parameter name: What ``syncFile(of:)`` says; only merged ones have one of their own.
    /// - Returns: An fd for the client, which the caller sends and closes.
    /// - Throws: ``FencingError/tooManyFiles(quota:)`` or a system error.
    public func exportSyncFile(
        _ fence: Fence, name: String = "", quota: FenceFDQuota
    ) throws(FencingError) -> Int32 {
        let (entry, fd) = try export(.fence(fence), name: name, quota)
        if !fence.addCallback(entry) { entry.fenceSignalled(fence) }
        return fd
    }

    /// Makes a sync_file of what signals with a point; ``FencingError/notSubmitted(point:)`` if
    /// nothing does.
    public func exportSyncFile(
        of syncobj: Syncobj, point: UInt64 = 0, quota: FenceFDQuota
    ) throws(FencingError) -> Int32 {
        try exportSyncFile(try syncobj.findFence(point: point), quota: quota)
    }

    /// Makes a syncobj fd.
    ///
    /// - Returns: An fd for the client, which the caller sends and closes.
    public func exportSyncobj(
        _ syncobj: Syncobj, quota: FenceFDQuota
    ) throws(FencingError) -> Int32 {
        try export(.syncobj(syncobj), quota).1
    }

    /// What `fd` stands for.
    ///
    /// - Parameter fd: Stays the caller's.
    /// - Throws: ``FencingError/invalidArgument(_:)`` if it was not exported here.
    public func object(of fd: Int32) throws(FencingError) -> FenceFDObject {
        try entry(of: fd).object
    }

    private func entry(of fd: Int32) throws(FencingError) -> FenceFDEntry {
        guard let identity = Self.identify(fd),
            let entry = lock.withLock({ entries[identity.cookie] }), entry.identity == identity
        else { throw .invalidArgument("the fd is neither a sync_file nor a syncobj fd") }
        return entry
    }

    /// A sync_file as SYNC_IOC_FILE_INFO describes it.
    public struct SyncFile: Sendable {
        /// What it is a snapshot of.
        public let fence: Fence
        /// The name that it was made with.
        public let name: String
    }

    /// The sync_file behind a descriptor; ``FencingError/invalidArgument(_:)`` for another fd.
    public func syncFile(of fd: Int32) throws(FencingError) -> SyncFile {
        let entry = try entry(of: fd)
        guard case .fence(let fence) = entry.object else {
            throw .invalidArgument("the fd is no sync_file")
        }
        return SyncFile(fence: fence, name: entry.name)
    }

    /// The sync object behind a syncobj fd; ``FencingError/invalidArgument(_:)`` for another fd.
    public func syncobj(of fd: Int32) throws(FencingError) -> Syncobj {
        guard case .syncobj(let syncobj) = try object(of: fd) else {
            throw .invalidArgument("the fd is no syncobj fd")
        }
        return syncobj
    }

    /// The fence behind a sync_file; ``FencingError/invalidArgument(_:)`` for another fd.
    public func fence(of fd: Int32) throws(FencingError) -> Fence {
        try syncFile(of: fd).fence
    }

    /// Puts the fence behind a sync_file into `syncobj` (FD_TO_HANDLE with IMPORT_SYNC_FILE).
    ///
    /// - Parameter point: 0 replaces the object's fence; otherwise the point is added.
    public func importSyncFile(
        _ fd: Int32, into syncobj: Syncobj, point: UInt64 = 0, node: FenceChain = FenceChain()
    ) throws(FencingError) {
        let fence = try fence(of: fd)
        if point == 0 {
            syncobj.replaceFence(fence)
        } else {
            syncobj.addPoint(node, fence: fence, point: point)
        }
    }

    /// Drops the entry behind `token`: the monitor saw the hang-up. Unknown tokens do nothing.
    public func peerClosed(token: UInt64) {
        guard let entry = lock.withLock({ entries.removeValue(forKey: token) }) else { return }
        monitor.unwatch(fd: entry.peerFD, token: token)
        entry.close()
    }

    private func export(
        _ object: FenceFDObject, name: String = "", _ quota: FenceFDQuota
    ) throws(FencingError) -> (FenceFDEntry, Int32) {
        try quota.take()
        var pair: (Int32, Int32) = (-1, -1)
        let made = withUnsafeMutableBytes(of: &pair) {
            gpuvm_socket_pair($0.assumingMemoryBound(to: Int32.self).baseAddress)
        }
        if made < 0 {
            quota.give()
            throw .system(errno: -made, call: "socketpair")
        }
        let (peer, client) = pair
        let hardened = gpuvm_discard_incoming(peer)
        guard hardened == 0, let identity = Self.identify(client) else {
            quota.give()
            Glibc.close(peer)
            Glibc.close(client)
            throw .system(errno: hardened < 0 ? -hardened : EINVAL, call: "setsockopt")
        }
        let entry = FenceFDEntry(object, name: name, peerFD: peer, identity, quota)
        lock.withLock { entries[identity.cookie] = entry }
        do {
            try monitor.watch(fd: peer, token: identity.cookie)
        } catch {
            _ = lock.withLock { entries.removeValue(forKey: identity.cookie) }
            entry.close()
            Glibc.close(client)
            throw error
        }
        return (entry, client)
    }

    private static func identify(_ fd: Int32) -> Identity? {
        var found = gpuvm_socket_identity()
        guard gpuvm_socket_identity(fd, &found) == 0 else { return nil }
        return Identity(inode: found.inode, cookie: found.cookie)
    }
}

// @unchecked: `isOpen` is guarded by `lock`.
/// One exported fd: the object, and the daemon's end of its socket pair.
final class FenceFDEntry: FenceCallback, @unchecked Sendable {
    let object: FenceFDObject
    let name: String
    let peerFD: Int32
    let identity: FenceFDRegistry.Identity
    private let quota: FenceFDQuota
    private let lock = Lock(.fenceFD)
    private var isOpen = true

    init(
        _ object: FenceFDObject, name: String, peerFD: Int32,
        _ identity: FenceFDRegistry.Identity, _ quota: FenceFDQuota
    ) {
        self.object = object
        self.name = name
        self.peerFD = peerFD
        self.identity = identity
        self.quota = quota
    }

    override func fenceSignalled(_ fence: Fence) {
        // Under the lock, so that the number cannot be closed and used again meanwhile.
        lock.withLock {
            if isOpen { shutdown(peerFD, Int32(SHUT_WR)) }
        }
    }

    func close() {
        let wasOpen = lock.withLock {
            defer { isOpen = false }
            if isOpen { Glibc.close(peerFD) }
            return isOpen
        }
        guard wasOpen else { return }
        quota.give()
        if case .fence(let fence) = object { _ = fence.removeCallback(self) }
    }
}
