import CPlatform
import Glibc
import Testing

@testable import Fencing

@Suite struct EventFDTests {
    private func makeEventFD(_ count: UInt32 = 0) -> Int32 { gpuvm_eventfd_create(count) }

    private func count(_ fd: Int32) -> UInt64 {
        guard pollNow(fd) & POLLIN != 0 else { return 0 }
        var value: UInt64 = 0
        return read(fd, &value, 8) == 8 ? value : 0
    }

    @Test func aPointThatSignalsIsTold() throws {
        let signaller = try EventFDSignaller()
        let quota = FenceFDQuota(limit: 4)
        let fd = makeEventFD()
        defer { close(fd) }
        let syncobj = Syncobj()
        try syncobj.registerEventFD(fd, point: 3, signaller: signaller, quota: quota)
        let early = makeFence()
        let late = makeFence()
        syncobj.addPoint(FenceChain(), fence: early, point: 1)
        syncobj.addPoint(FenceChain(), fence: late, point: 3)
        late.signal()
        #expect(count(fd) == 0)
        early.signal()
        #expect(count(fd) == 1)
        #expect(quota.count == 0)
    }

    @Test func availableTellsOfTheFence() throws {
        let signaller = try EventFDSignaller()
        let quota = FenceFDQuota(limit: 4)
        let fd = makeEventFD()
        defer { close(fd) }
        let syncobj = Syncobj()
        try syncobj.registerEventFD(
            fd, point: 2, flags: .available, signaller: signaller, quota: quota)
        #expect(count(fd) == 0)
        syncobj.addPoint(FenceChain(), fence: makeFence(), point: 2)
        #expect(count(fd) == 1)
        try syncobj.registerEventFD(
            fd, point: 1, flags: .available, signaller: signaller, quota: quota)
        #expect(count(fd) == 1)
        #expect(quota.count == 0)
    }

    @Test func whatHasSignalledIsToldAtOnce() throws {
        let signaller = try EventFDSignaller()
        let fd = makeEventFD()
        defer { close(fd) }
        try Syncobj(signalled: true).registerEventFD(
            fd, signaller: signaller, quota: FenceFDQuota(limit: 1))
        #expect(count(fd) == 1)
    }

    @Test func aFullCounterDoesNotBlock() throws {
        let signaller = try EventFDSignaller()
        let fd = makeEventFD()
        defer { close(fd) }
        var full = UInt64.max - 1
        #expect(write(fd, &full, 8) == 8)
        try Syncobj(signalled: true).registerEventFD(
            fd, signaller: signaller, quota: FenceFDQuota(limit: 1))
        #expect(count(fd) >= UInt64.max - 1)
    }

    @Test func otherFDsAndFlagsAreRefused() throws {
        let signaller = try EventFDSignaller()
        let quota = FenceFDQuota(limit: 1)
        let syncobj = Syncobj()
        let file = open("/dev/null", O_RDONLY)
        defer { close(file) }
        #expect(errno(of: file, syncobj, [], signaller, quota) == EINVAL)
        #expect(errno(of: 1_000_000, syncobj, [], signaller, quota) == EBADF)
        let fd = makeEventFD()
        defer { close(fd) }
        #expect(errno(of: fd, syncobj, .all, signaller, quota) == EINVAL)
        #expect(quota.count == 0)
        #expect(errno(of: fd, syncobj, [], signaller, quota) == nil)
        #expect(errno(of: fd, syncobj, [], signaller, quota) == EMFILE)
    }

    @Test func theDuplicateGoesWithTheObject() throws {
        let signaller = try EventFDSignaller()
        let quota = FenceFDQuota(limit: 1)
        let fd = makeEventFD()
        defer { close(fd) }
        do {
            let syncobj = Syncobj()
            try syncobj.registerEventFD(fd, signaller: signaller, quota: quota)
            #expect(quota.count == 1)
        }
        #expect(quota.count == 0)
        #expect(count(fd) == 0)
    }

    private func errno(
        of fd: Int32, _ syncobj: Syncobj, _ flags: SyncobjWait.Flags,
        _ signaller: EventFDSignaller, _ quota: FenceFDQuota
    ) -> Int32? {
        do {
            try syncobj.registerEventFD(fd, flags: flags, signaller: signaller, quota: quota)
            return nil
        } catch {
            return error.errno
        }
    }
}
