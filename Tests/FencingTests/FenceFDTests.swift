import CPlatform
import Glibc
import Testing

@testable import Fencing

/// A reactor for tests: polls for hang-up when asked to.
final class PollingMonitor: FenceFDMonitor {
    private let watched = Guarded<[UInt64: Int32]>(.leaf, [:])

    var count: Int { watched.withLock { $0.count } }

    func watch(fd: Int32, token: UInt64) { watched.withLock { $0[token] = fd } }

    func unwatch(fd: Int32, token: UInt64) { watched.withLock { $0[token] = nil } }

    func pump(_ registry: FenceFDRegistry) {
        for (token, fd) in watched.withLock({ $0 }) where pollNow(fd, 0) & POLLHUP != 0 {
            registry.peerClosed(token: token)
        }
    }

    /// Waits until all fds are closed: a process that another test is just forking holds copies of
    /// them until it executes.
    func pumpUntilEmpty(_ registry: FenceFDRegistry) {
        let deadline = Runtime.deadline(after: 10_000_000_000)
        repeat { pump(registry) } while registry.count != 0 && Runtime.now() < deadline
    }
}

@Suite struct FenceFDTests {
    private let monitor: PollingMonitor
    private let registry: FenceFDRegistry
    private let quota = FenceFDQuota(limit: 8)

    init() {
        monitor = PollingMonitor()
        registry = FenceFDRegistry(monitor: monitor)
    }

    @Test func aSyncFilePollsReadableForEverOnceSignalled() throws {
        let fence = makeFence()
        let fd = try registry.exportSyncFile(fence, quota: quota)
        defer { close(fd) }
        #expect(pollNow(fd) & POLLIN == 0)
        fence.signal()
        var buffer = [UInt8](repeating: 0, count: 64)
        for _ in 0..<5 {
            #expect(pollNow(fd) == POLLIN)
            #expect(read(fd, &buffer, 64) == 0)
        }
        monitor.pump(registry)
        #expect(registry.count == 1)
    }

    @Test func aSignalledFenceGivesAReadableFileAndKeepsItsError() throws {
        let fence = makeFence()
        fence.signal(error: ENODEV)
        let fd = try registry.exportSyncFile(fence, quota: quota)
        defer { close(fd) }
        #expect(pollNow(fd) == POLLIN)
        let syncobj = Syncobj()
        try registry.importSyncFile(fd, into: syncobj)
        #expect(try syncobj.findFence().error == ENODEV)
    }

    @Test func aSnapshotDoesNotFollowTheObject() throws {
        let syncobj = Syncobj()
        #expect(throws: FencingError.notSubmitted(point: 0)) {
            try registry.exportSyncFile(of: syncobj, quota: quota)
        }
        let fence = makeFence()
        syncobj.replaceFence(fence)
        let fd = try registry.exportSyncFile(of: syncobj, quota: quota)
        defer { close(fd) }
        syncobj.signal()
        #expect(pollNow(fd) & POLLIN == 0)
        fence.signal()
        #expect(pollNow(fd) & POLLIN != 0)
    }

    @Test func aPointAsASyncFileAndIntoATimeline() throws {
        let timeline = Syncobj()
        let fence = makeFence()
        timeline.addPoint(FenceChain(), fence: fence, point: 2)
        #expect(throws: FencingError.notSubmitted(point: 3)) {
            try registry.exportSyncFile(of: timeline, point: 3, quota: quota)
        }
        let fd = try registry.exportSyncFile(of: timeline, point: 2, quota: quota)
        defer { close(fd) }
        let other = Syncobj()
        try registry.importSyncFile(fd, into: other, point: 9)
        #expect(other.query() == 0)
        fence.signal()
        #expect(other.query() == 9)
    }

    @Test func aSyncobjFDIsTheObjectAndNeverReadable() throws {
        let syncobj = Syncobj()
        let fd = try registry.exportSyncobj(syncobj, quota: quota)
        let copy = dup(fd)
        close(fd)
        defer { close(copy) }
        syncobj.signal()
        #expect(pollNow(copy) & (POLLIN | POLLHUP | POLLERR) == 0)
        #expect(try registry.syncobj(of: copy) === syncobj)
        #expect(throws: FencingError.self) { try registry.fence(of: copy) }
        monitor.pump(registry)
        #expect(registry.count == 1)
    }

    @Test func identityNotNumberDecides() throws {
        let fence = makeFence()
        let fd = try registry.exportSyncFile(fence, quota: quota)
        let copy = dup(fd)
        // The same number, another socket.
        var pair: [Int32] = [-1, -1]
        #expect(gpuvm_socket_pair(&pair) == 0)
        #expect(dup2(pair[0], fd) == fd)
        defer { for fd in [fd, pair[0], pair[1]] { close(fd) } }
        #expect(throws: FencingError.self) { try registry.object(of: fd) }
        #expect(try registry.fence(of: copy) === fence)
        for foreign in [-1, 0, 1_000_000] as [Int32] {
            #expect(throws: FencingError.self) { try registry.object(of: foreign) }
        }
        close(copy)
    }

    @Test func theLastCopyClosedDropsTheObject() throws {
        weak var syncobj: Syncobj?
        var copies: [Int32]
        do {
            let made = Syncobj()
            syncobj = made
            let fd = try registry.exportSyncobj(made, quota: quota)
            copies = [fd, dup(fd)]
        }
        close(copies[0])
        monitor.pump(registry)
        #expect(syncobj != nil && registry.count == 1)
        // A copy that is under way in a message holds it too.
        var pair: [Int32] = [-1, -1]
        #expect(gpuvm_socket_pair(&pair) == 0)
        var byte: UInt8 = 0
        var message = gpuvm_message()
        withUnsafeMutableBytes(of: &byte) { bytes in
            message.bytes = bytes.baseAddress
            message.length = 1
            message.fds.0 = copies[1]
            message.fd_count = 1
            #expect(gpuvm_send(pair[0], &message, 0) == 1)
        }
        close(copies[1])
        monitor.pump(registry)
        #expect(syncobj != nil)
        close(pair[0])
        close(pair[1])
        monitor.pumpUntilEmpty(registry)
        #expect(syncobj == nil && registry.count == 0 && monitor.count == 0 && quota.count == 0)
    }

    @Test func aClosedSyncFileLeavesTheFenceAlone() throws {
        for signalsBefore in [true, false] {
            let fence = makeFence()
            let fd = try registry.exportSyncFile(fence, quota: quota)
            if signalsBefore { fence.signal() }
            monitor.pump(registry)
            #expect(registry.count == 1)
            close(fd)
            monitor.pumpUntilEmpty(registry)
            #expect(registry.count == 0 && quota.count == 0)
            fence.signal()
        }
    }

    @Test func garbageGoesNowhere() throws {
        let fence = makeFence()
        let fd = try registry.exportSyncFile(fence, quota: quota)
        defer { close(fd) }
        let garbage = [UInt8](repeating: 0x5A, count: 4096)
        for _ in 0..<1000 { _ = send(fd, garbage, garbage.count, Int32(MSG_DONTWAIT)) }
        var queued: Int32 = -1
        #expect(ioctl(fd, UInt(TIOCOUTQ), &queued) == 0 && queued == 0)
        // An fd sent to itself would keep itself open, if anybody kept it.
        var byte: UInt8 = 0
        var message = gpuvm_message()
        withUnsafeMutableBytes(of: &byte) { bytes in
            message.bytes = bytes.baseAddress
            message.length = 1
            message.fds.0 = fd
            message.fd_count = 1
            _ = gpuvm_send(fd, &message, Int32(MSG_DONTWAIT))
        }
        #expect(!fence.isSignalled && pollNow(fd) & POLLIN == 0)
        #expect(try registry.fence(of: fd) === fence)
        fence.signal()
        #expect(pollNow(fd) == POLLIN)
    }

    @Test func anFDSentToItselfIsDroppedAllTheSame() throws {
        let fd = try registry.exportSyncobj(Syncobj(), quota: quota)
        var byte: UInt8 = 0
        var message = gpuvm_message()
        withUnsafeMutableBytes(of: &byte) { bytes in
            message.bytes = bytes.baseAddress
            message.length = 1
            message.fds.0 = fd
            message.fd_count = 1
            _ = gpuvm_send(fd, &message, Int32(MSG_DONTWAIT))
        }
        close(fd)
        monitor.pumpUntilEmpty(registry)
        #expect(registry.count == 0)
    }

    @Test func aClientThatShutsItsEndDownHarmsItselfOnly() throws {
        let fence = makeFence()
        let bad = try registry.exportSyncFile(fence, quota: quota)
        let good = try registry.exportSyncFile(fence, quota: quota)
        defer {
            close(bad)
            close(good)
        }
        shutdown(bad, Int32(SHUT_RDWR))
        monitor.pump(registry)
        #expect(!fence.isSignalled)
        #expect(pollNow(good) & POLLIN == 0)
        #expect(try registry.fence(of: good) === fence)
        fence.signal()
        #expect(pollNow(good) == POLLIN)
    }

    @Test func theQuotaHolds() throws {
        var fds: [Int32] = []
        for _ in 0..<8 { fds.append(try registry.exportSyncobj(Syncobj(), quota: quota)) }
        #expect(throws: FencingError.tooManyFiles(quota: 8)) {
            try registry.exportSyncobj(Syncobj(), quota: quota)
        }
        for fd in fds { close(fd) }
        monitor.pumpUntilEmpty(registry)
        #expect(quota.count == 0)
    }
}
