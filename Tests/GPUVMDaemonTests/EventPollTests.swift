import CPlatform
import Glibc
import SystemPackage
import Testing
import WireProtocol

@testable import GPUVMDaemon

@Suite struct EventPollTests {
    /// The events of one wait, which must have some, or it would not return.
    private func next(_ poll: borrowing EventPoll) -> [UInt64: UInt32] {
        withUnsafeTemporaryAllocation(of: gpuvm_epoll_event.self, capacity: EventPoll.batch) {
            events in
            let count = poll.wait(events)
            return Dictionary(
                events[..<count].map { ($0.token, $0.events) }, uniquingKeysWith: { $0 | $1 })
        }
    }

    @Test func wakeUpsMeltIntoOneUntilDrained() throws {
        let wake = try WakeSignal()
        let poll = try EventPoll()
        try poll.add(wake.rawValue, events: GPUVM_EPOLL_IN, token: .max)
        for _ in 0..<1000 { wake.wake() }
        #expect(next(poll) == [.max: GPUVM_EPOLL_IN])
        #expect(next(poll) == [.max: GPUVM_EPOLL_IN])
        wake.drain()
        #expect(!becomesReadable(wake.rawValue, milliseconds: 0))
        // Neither blocks: not with nothing to take, and not with a full counter.
        wake.drain()
        var most = UInt64.max - 1
        #expect(write(wake.rawValue, &most, 8) == 8)
        wake.wake()
        #expect(becomesReadable(wake.rawValue, milliseconds: 0))
    }

    /// A registration that nobody can end, since its descriptor is closed and its file is not.
    @Test func whatOutlivesItsDescriptorIsReportedOnce() throws {
        let wake = try WakeSignal()
        let poll = try EventPoll()
        try poll.add(wake.rawValue, events: GPUVM_EPOLL_IN, token: 0)
        let (ours, theirs) = try UnixSocket.pair()
        let number = fcntl(ours.rawValue, F_DUPFD_CLOEXEC, 0)
        try poll.addOnce(number, events: GPUVM_EPOLL_IN, token: 7)
        close(number)
        theirs.shutdown()
        #expect(next(poll) == [7: GPUVM_EPOLL_IN | GPUVM_EPOLL_HUP])
        wake.wake()
        #expect(next(poll) == [0: GPUVM_EPOLL_IN])
        withExtendedLifetime(ours) {}
    }

    @Test func rearmingReportsWhatStillHolds() throws {
        let poll = try EventPoll()
        let (ours, theirs) = try UnixSocket.pair()
        #expect(throws: Errno.noSuchFileOrDirectory) {
            try poll.rearm(ours.rawValue, events: 0, token: 1)
        }
        try poll.addOnce(ours.rawValue, events: GPUVM_EPOLL_IN, token: 1)
        send(theirs.rawValue, "x", 1, 0)
        #expect(next(poll) == [1: GPUVM_EPOLL_IN])
        try poll.rearm(ours.rawValue, events: GPUVM_EPOLL_IN, token: 2)
        #expect(next(poll) == [2: GPUVM_EPOLL_IN])
        theirs.shutdown()
        try poll.rearm(ours.rawValue, events: 0, token: 3)
        #expect(next(poll) == [3: GPUVM_EPOLL_HUP])
        poll.remove(ours.rawValue)
        poll.remove(ours.rawValue)
        #expect(throws: Errno.badFileDescriptor) {
            try poll.addOnce(-1, events: 0, token: 1)
        }
    }
}
