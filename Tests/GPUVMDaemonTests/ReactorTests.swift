import Fencing
import Glibc
import SystemPackage
import TestSupport
import Testing
import WireProtocol

@testable import GPUVMDaemon

@Suite struct ReactorTests {
    /// What handlers saw.
    fileprivate final class Events: Sendable {
        let seen = Guarded(.daemon, [(name: String, event: Reactor.Event)]())
        let changed = Condition()

        func add(_ name: String, _ event: Reactor.Event) {
            seen.withLock { $0.append((name, event)) }
            changed.broadcast()
        }

        func wait(_ count: Int) -> Bool {
            seen.wait(on: changed, deadline: Runtime.deadline(after: 10_000_000_000)) {
                $0.count >= count ? true : nil
            } ?? false
        }

        var names: [String] { seen.withLock { $0.map(\.name) } }
    }

    @Test func aHangupIsReportedAndDataIsNot() throws {
        let reactor = try Reactor()
        try reactor.start()
        let events = Events()
        let (ours, theirs) = try UnixSocket.pair()
        let (other, peer) = try UnixSocket.pair()
        _ = try reactor.watch(ours.rawValue, for: .hangup) { event in
            events.add("hangup", event)
            return .remove
        }
        _ = try reactor.watch(other.rawValue, for: .readable) { event in
            events.add("readable", event)
            return .remove
        }
        send(theirs.rawValue, "x", 1, 0)
        send(peer.rawValue, "x", 1, 0)
        #expect(events.wait(1))
        #expect(events.names == ["readable"])
        theirs.shutdown()
        #expect(events.wait(2))
        #expect(events.names == ["readable", "hangup"])
        #expect(events.seen.withLock { $0[1].event.contains(.hangup) })
        reactor.stop()
        #expect(reactor.watchCount == 0)
        withExtendedLifetime((ours, other)) {}
    }

    @Test func anEventThatHoldsIsReportedAgainUntilRemoved() throws {
        let reactor = try Reactor()
        try reactor.start()
        let events = Events()
        let (ours, theirs) = try UnixSocket.pair()
        _ = try reactor.watch(ours.rawValue, for: .readable) { event in
            events.add("event", event)
            return events.names.count < 3 ? .keep : .remove
        }
        send(theirs.rawValue, "x", 1, 0)
        #expect(events.wait(3))
        reactor.stop()
        #expect(events.names.count == 3)
        withExtendedLifetime(ours) {}
    }

    @Test func anUnwatchedHandlerDoesNotRunAgain() throws {
        let reactor = try Reactor()
        try reactor.start()
        let events = Events()
        for round in 0..<200 {
            let (ours, theirs) = try UnixSocket.pair()
            let isOver = Guarded(.leaf, false)
            let state = Shared(isOver)
            let token = try reactor.watch(ours.rawValue, for: .hangup) { event in
                if state.isOver.withLock({ $0 }) { events.add("late \(round)", event) }
                return .keep
            }
            theirs.shutdown()
            reactor.unwatchAndWait(token)
            state.isOver.withLock { $0 = true }
        }
        #expect(reactor.watchCount == 0)
        reactor.stop()
        #expect(events.names == [])
    }

    private final class Shared: Sendable {
        let isOver: Guarded<Bool>
        init(_ isOver: consuming Guarded<Bool>) { self.isOver = isOver }
    }

    @Test func handlersMayWatchAndUnwatch() throws {
        let reactor = try Reactor()
        try reactor.start()
        let events = Events()
        let (a, aPeer) = try UnixSocket.pair()
        let (b, bPeer) = try UnixSocket.pair()
        bPeer.shutdown()
        _ = try reactor.watch(a.rawValue, for: .hangup) { event in
            events.add("first", event)
            do throws(Errno) {
                let unused = try reactor.watch(b.rawValue, for: .hangup) { _ in .remove }
                reactor.unwatch(unused)
                _ = try reactor.watch(b.rawValue, for: .hangup) { event in
                    events.add("second", event)
                    return .remove
                }
            } catch {
                Issue.record("\(error)")
            }
            return .remove
        }
        aPeer.shutdown()
        #expect(events.wait(2))
        #expect(events.names == ["first", "second"])
        reactor.stop()
    }

    @Test func aClosedDescriptorIsDropped() throws {
        let reactor = try Reactor()
        let events = Events()
        let number: Int32 = 1_000_000
        _ = try reactor.watch(number, for: .readable) { event in
            events.add("invalid", event)
            return .keep
        }
        try reactor.start()
        #expect(events.wait(1))
        #expect(events.seen.withLock { $0[0].event == .invalid })
        reactor.stop()
        #expect(events.names.count == 1)
    }

    @Test func exportedFencesAreForgottenWithTheirLastDescriptor() throws {
        let reactor = try Reactor()
        try reactor.start()
        let registry = ReactorFenceMonitor.registry(on: reactor)
        let quota = FenceFDQuota(limit: 100)
        var exported: [OwnedFDBox] = []
        for number in 1...100 {
            let fence = Fence(context: 1, sequenceNumber: UInt64(number))
            exported.append(OwnedFDBox(try registry.exportSyncFile(fence, quota: quota)))
        }
        #expect(registry.count == 100)
        #expect(reactor.watchCount == 100)
        exported.removeAll()
        // The closes above come first in the reactor's eyes, but not in this thread's.
        let deadline = Runtime.deadline(after: 10_000_000_000)
        while reactor.watchCount > 0, Runtime.now() < deadline { sched_yield() }
        #expect(registry.count == 0)
        #expect(reactor.watchCount == 0)
        reactor.stop()
    }

    /// Watches the ends of `count` socket pairs; the events bear the pairs' indices.
    private func watchPairs(
        _ count: Int, on reactor: Reactor, _ events: Events,
        _ disposition: Reactor.Disposition = .keep
    ) throws -> [(ours: UnixSocket, theirs: UnixSocket, token: Reactor.Token)] {
        try (0..<count).map { index in
            let (ours, theirs) = try UnixSocket.pair()
            let token = try reactor.watch(ours.rawValue, for: .hangup) { event in
                events.add("\(index)", event)
                return disposition
            }
            return (ours, theirs, token)
        }
    }

    @Test func oneOfManyWakesAloneAndTheOthersStay() throws {
        let limit = try DescriptorLimit.raise()
        try #require(limit > 4200, "RLIMIT_NOFILE \(limit)")
        let reactor = try Reactor()
        try reactor.start()
        let events = Events()
        let pairs = try watchPairs(2000, on: reactor, events, .remove)
        #expect(reactor.watchCount == 2000)
        pairs[1234].theirs.shutdown()
        #expect(events.wait(1))
        // Data is no hang-up, for whichever of them.
        for pair in pairs where pair.ours !== pairs[1234].ours {
            send(pair.theirs.rawValue, "x", 1, 0)
        }
        pairs[77].theirs.shutdown()
        #expect(events.wait(2))
        #expect(events.names == ["1234", "77"])
        // More at a time than the kernel reports in one batch.
        for pair in pairs { pair.theirs.shutdown() }
        #expect(events.wait(2000))
        reactor.stop()
        #expect(events.names.count == 2000)
        #expect(Set(events.names) == Set((0..<2000).map { "\($0)" }))
    }

    @Test func aDescriptorClosedWhileWatchedIsNoticedWhenTheWatchGoesOn() throws {
        let reactor = try Reactor()
        try reactor.start()
        let events = Events()
        let (ours, theirs) = try UnixSocket.pair()
        let number = fcntl(ours.rawValue, F_DUPFD_CLOEXEC, 0)
        _ = try reactor.watch(number, for: .hangup) { event in
            events.add("event", event)
            if events.names.count == 1 { close(number) }
            return .keep
        }
        theirs.shutdown()
        #expect(events.wait(2))
        #expect(events.seen.withLock { $0.first?.event.contains(.hangup) } == true)
        #expect(events.seen.withLock { $0.last?.event } == .invalid)
        reactor.stop()
        #expect(events.names.count == 2)
        withExtendedLifetime(ours) {}
    }

    @Test func aNumberUsedAgainBelongsToItsNewWatch() throws {
        let reactor = try Reactor()
        try reactor.start()
        let events = Events()
        let (first, firstPeer) = try UnixSocket.pair()
        let (second, secondPeer) = try UnixSocket.pair()
        let number = fcntl(first.rawValue, F_DUPFD_CLOEXEC, 0)
        defer { close(number) }
        let old = try reactor.watch(number, for: .hangup) { event in
            events.add("old", event)
            return .keep
        }
        #expect(dup2(second.rawValue, number) == number)
        let new = try reactor.watch(number, for: .hangup) { event in
            events.add("new", event)
            return .remove
        }
        #expect(events.wait(1))
        #expect(events.names == ["old"])
        #expect(events.seen.withLock { $0.first?.event } == .invalid)
        // The file lives on by `first`, and the kernel's registration of it too; nobody is told.
        firstPeer.shutdown()
        reactor.unwatch(old)
        secondPeer.shutdown()
        #expect(events.wait(2))
        #expect(events.names == ["old", "new"])
        reactor.unwatch(new)
        // What is left of the first watch does not stand in the way of another one.
        #expect(dup2(first.rawValue, number) == number)
        let last = try reactor.watch(number, for: .hangup) { event in
            events.add("again", event)
            return .remove
        }
        #expect(events.wait(3))
        reactor.unwatchAndWait(last)
        #expect(events.names == ["old", "new", "again"])
        #expect(reactor.watchCount == 0)
        reactor.stop()
    }

    @Test func endingAWatchLeavesTheOneThatHasItsNumberNow() throws {
        let reactor = try Reactor()
        let events = Events()
        let (first, firstPeer) = try UnixSocket.pair()
        let (second, secondPeer) = try UnixSocket.pair()
        let number = fcntl(first.rawValue, F_DUPFD_CLOEXEC, 0)
        defer { close(number) }
        let old = try reactor.watch(number, for: .hangup) { event in
            events.add("old", event)
            return .keep
        }
        #expect(dup2(second.rawValue, number) == number)
        _ = try reactor.watch(number, for: .hangup) { event in
            events.add("new", event)
            return .remove
        }
        // Before the reactor's thread could tell the old one.
        reactor.unwatch(old)
        try reactor.start()
        firstPeer.shutdown()
        secondPeer.shutdown()
        #expect(events.wait(1))
        reactor.stop()
        #expect(events.names == ["new"])
        withExtendedLifetime(first) {}
    }

    @Test func whatCannotBeWatchedIsRefused() throws {
        let reactor = try Reactor()
        let (ours, theirs) = try UnixSocket.pair()
        _ = try reactor.watch(ours.rawValue, for: .hangup) { _ in .keep }
        #expect(throws: Errno.fileExists) {
            try reactor.watch(ours.rawValue, for: .readable) { _ in .keep }
        }
        let file = open(committedConfigurationPath, O_RDONLY | O_CLOEXEC)
        try #require(file >= 0)
        defer { close(file) }
        #expect(throws: Errno.notPermitted) {
            try reactor.watch(file, for: .readable) { _ in .keep }
        }
        #expect(reactor.watchCount == 1)
        reactor.stop()
        withExtendedLifetime((ours, theirs)) {}
    }

    @Test func aHandlerMayUnwatchItself() throws {
        let reactor = try Reactor()
        try reactor.start()
        let events = Events()
        let (ours, theirs) = try UnixSocket.pair()
        let own = Guarded<Reactor.Token?>(.leaf, nil)
        let shared = TokenBox(own)
        let token = try reactor.watch(ours.rawValue, for: .readable) { event in
            guard let token = shared.token.withLock({ $0 }) else { return .keep }
            reactor.unwatch(token)
            events.add("event", event)
            return .keep
        }
        send(theirs.rawValue, "x", 1, 0)
        shared.token.withLock { $0 = token }
        #expect(events.wait(1))
        reactor.unwatchAndWait(token)
        #expect(reactor.watchCount == 0)
        // The descriptor is free to be watched again.
        _ = try reactor.watch(ours.rawValue, for: .readable) { event in
            events.add("again", event)
            return .remove
        }
        #expect(events.wait(2))
        reactor.stop()
        #expect(events.names == ["event", "again"])
    }

    private final class TokenBox: Sendable {
        let token: Guarded<Reactor.Token?>
        init(_ token: consuming Guarded<Reactor.Token?>) { self.token = token }
    }

    /// Threads that watch, hang up, unwatch and close at random, with numbers used again at once.
    @Test func watchesOfManyThreadsDoNotMix() throws {
        let seed = UInt64.random(in: 1...UInt64.max)
        let reactor = try Reactor()
        try reactor.start()
        let events = Events()
        let threads = (0..<4).compactMap { thread in
            RuntimeThread.start(name: "churn \(thread)") {
                var generator = SplitMix64(seed: seed &+ UInt64(thread))
                do {
                    for round in 0..<300 {
                        try churn(reactor, events, "\(thread).\(round)", &generator)
                    }
                } catch {
                    Issue.record("\(error), seed \(seed)")
                }
            }
        }
        #expect(threads.count == 4)
        for thread in threads { thread.join() }
        #expect(reactor.watchCount == 0)
        reactor.stop()
        #expect(events.names == [], "seed \(seed)")
    }
}

/// One life of a watch: its peer hangs up or does not, and its handler must run accordingly.
private func churn(
    _ reactor: Reactor, _ failures: ReactorTests.Events, _ name: String,
    _ generator: inout SplitMix64
) throws {
    let hangsUp = Bool.random(using: &generator)
    let waits = Bool.random(using: &generator)
    let (ours, theirs) = try UnixSocket.pair()
    let outcome = ReactorTests.Events()
    let token = try reactor.watch(ours.rawValue, for: .hangup) { event in
        outcome.add(name, event)
        return .remove
    }
    if hangsUp { theirs.shutdown() }
    if hangsUp && waits && !outcome.wait(1) { failures.add("\(name) not told", []) }
    reactor.unwatchAndWait(token)
    let seen = outcome.seen.withLock { $0.map(\.event) }
    if !seen.allSatisfy({ $0.contains(.hangup) }) { failures.add("\(name) told wrongly", []) }
    if seen.count > (hangsUp ? 1 : 0) { failures.add("\(name) told too often", []) }
}
