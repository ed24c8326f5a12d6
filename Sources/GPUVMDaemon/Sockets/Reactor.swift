import CPlatform
import Fencing
import SystemPackage

/// One thread that watches file descriptors for everybody.
///
/// The peers of exported and imported sync_files live here: a hang-up is a signal. Handlers run on
/// the reactor's thread, one at a time; they must be short and must not block.
///
/// Threading: any thread, with any lock but one of class `leaf` held. An event costs O(1), however
/// many descriptors are watched; so do ``watch(_:for:handler:)`` and ``unwatch(_:)``.
public final class Reactor: Sendable {
    /// What is waited for.
    public enum Interest: Sendable {
        /// Data, an end of stream or an error.
        case readable
        /// The peer's close or shutdown in both directions, or an error; data is ignored.
        case hangup
    }

    /// What a watched descriptor came to.
    public struct Event: OptionSet, Sendable {
        /// The bits of the members below.
        public let rawValue: UInt8

        /// Makes a set of bits.
        public init(rawValue: UInt8) { self.rawValue = rawValue }

        /// There is data, or the end of the stream.
        public static let readable = Event(rawValue: 1)
        /// The peer has closed or shut down its end.
        public static let hangup = Event(rawValue: 2)
        /// An error is pending on the descriptor.
        public static let error = Event(rawValue: 4)
        /// The descriptor was closed before or while it was watched: the owner's mistake; the watch
        /// is dropped. The kernel tells nobody of a close, so this comes when it is noticed: when
        /// the watch begins or goes on after its handler, or when the number is watched anew.
        public static let invalid = Event(rawValue: 8)
    }

    /// What becomes of a watch after its handler ran.
    public enum Disposition: Sendable {
        /// It goes on; an event that still holds is reported again.
        case keep
        /// It ends.
        case remove
    }

    /// Names a watch; never used twice.
    public struct Token: Hashable, Sendable {
        let id: UInt64
    }

    /// Runs on the reactor's thread.
    public typealias Handler = @Sendable (Event) -> Disposition

    private struct Watch {
        let fd: Int32
        let events: UInt32
        let handler: Handler
    }

    private struct Beat {
        let interval: UInt64
        let action: @Sendable () -> Void
        var next: UInt64
    }

    private struct State {
        var watches: [UInt64: Watch] = [:]
        /// Whose registration with the kernel a descriptor's number stands for.
        var registered: [Int32: UInt64] = [:]
        /// Watches whose descriptor is closed, of which their handlers have yet to hear.
        var invalid: [UInt64] = []
        var lastID: UInt64 = 0
        var running: UInt64?
        var isStopping = false
        var beat: Beat?
        var thread: RuntimeThread?
    }

    /// The wake signal's, in the place of a watch's ID.
    private static let wakeID: UInt64 = 0

    private let state = Guarded(.leaf, State())
    private let handlerDone = Condition()
    private let wake: WakeSignal
    private let poll: EventPoll

    /// Creates a reactor that watches once it is started.
    ///
    /// - Throws: EMFILE, ENFILE, ENOMEM or ENOSPC.
    public init() throws(Errno) {
        wake = try WakeSignal()
        poll = try EventPoll()
        try poll.add(wake.rawValue, events: GPUVM_EPOLL_IN, token: Self.wakeID)
    }

    /// Starts the thread, once.
    ///
    /// - Throws: EAGAIN when the system refuses another thread.
    public func start() throws(Errno) {
        let thread = RuntimeThread.start(name: "gpuvm-reactor") { [self] in run() }
        guard let thread else { throw .resourceTemporarilyUnavailable }
        state.withLock { $0.thread = thread }
    }

    /// Drops all watches; returns when the thread has ended. Not from a handler.
    public func stop() {
        let thread = state.withLock { state in
            state.isStopping = true
            defer { state.thread = nil }
            return state.thread
        }
        wake.wake()
        thread?.join()
        // Handlers may own descriptors, whose close is the owner's business outside of our lock.
        let dropped = state.withLock { state in
            for fd in state.registered.keys { poll.remove(fd) }
            state.registered = [:]
            state.invalid = []
            let watches = state.watches
            state.watches = [:]
            defer { state.beat = nil }
            return (watches, state.beat)
        }
        withExtendedLifetime(dropped) {}
    }

    /// The number of watches.
    public var watchCount: Int { state.withLock { $0.watches.count } }

    /// Watches `fd` until ``unwatch(_:)`` or until the handler asks for the end.
    ///
    /// - Parameter fd: Stays the caller's, who unwatches before closing it. If it is closed already,
    ///   the handler hears of it.
    /// - Throws: EEXIST if it is watched; EPERM for a file that nobody can wait for, as a regular
    ///   file; ENOMEM; ENOSPC beyond the user's fs.epoll.max_user_watches.
    public func watch(
        _ fd: Int32, for interest: Interest, handler: @escaping Handler
    ) throws(Errno) -> Token {
        let events =
            switch interest {
            case .readable: GPUVM_EPOLL_IN
            case .hangup: 0 as UInt32
            }
        let (token, hasInvalid) = try state.withLock { state throws(Errno) in
            let id = state.lastID + 1
            let isOpen = try register(fd, events, id, &state)
            state.lastID = id
            state.watches[id] = Watch(fd: fd, events: events, handler: handler)
            if isOpen {
                // Whoever had the number before lost its file, or the kernel would not have taken it.
                if let loser = state.registered.updateValue(id, forKey: fd) {
                    state.invalid.append(loser)
                }
            } else {
                state.invalid.append(id)
            }
            return (Token(id: id), !state.invalid.isEmpty)
        }
        if hasInvalid { wake.wake() }
        return token
    }

    /// Ends a watch; its handler may still be running on return. Harmless on one that has ended.
    public func unwatch(_ token: Token) {
        let dropped = state.withLock { remove(token.id, &$0) }
        withExtendedLifetime(dropped) {}
    }

    /// Ends a watch and returns when its handler no longer runs, so that what it uses can go.
    ///
    /// Not from a handler, and not with a lock held that the handler takes.
    public func unwatchAndWait(_ token: Token) {
        unwatch(token)
        _ = state.wait(on: handlerDone) { $0.running == token.id ? nil : true }
    }

    /// Runs `action` between events, at once and then every `interval` ns: as long as the loop goes
    /// round, and no longer. A later call takes the place of this one.
    public func beat(every interval: UInt64, _ action: @escaping @Sendable () -> Void) {
        let new = Beat(interval: interval, action: action, next: Runtime.now())
        let old = state.withLock { state in
            defer { state.beat = new }
            return state.beat
        }
        withExtendedLifetime(old) {}
        wake.wake()
    }

    /// How long the loop may wait for events, ms; nil if it is to end.
    private func patience() -> Int32? {
        state.withLock { state in
            guard !state.isStopping else { return nil }
            guard let beat = state.beat else { return -1 }
            let now = Runtime.now()
            // Rounded up: an early look would find nothing to do, again and again.
            return now >= beat.next ? 0 : Int32(clamping: (beat.next - now) / 1_000_000 + 1)
        }
    }

    private func beatIfDue() {
        let action = state.withLock { state -> (@Sendable () -> Void)? in
            let now = Runtime.now()
            guard let beat = state.beat, now >= beat.next else { return nil }
            state.beat?.next = now &+ beat.interval
            return beat.action
        }
        action?()
    }

    private func run() {
        withUnsafeTemporaryAllocation(of: gpuvm_epoll_event.self, capacity: EventPoll.batch) {
            events in
            while let milliseconds = patience() {
                for event in events[..<poll.wait(events, milliseconds: milliseconds)] {
                    if event.token == Self.wakeID {
                        wake.drain()
                        dispatchInvalid()
                    } else {
                        // A token whose watch has ended since the kernel reported it finds nothing.
                        dispatch(event.token, Self.event(event.events))
                    }
                }
                beatIfDue()
            }
        }
    }

    private func dispatchInvalid() {
        let invalid = state.withLock { state in
            defer { state.invalid = [] }
            return state.invalid
        }
        for id in invalid { dispatch(id, .invalid) }
    }

    private func dispatch(_ id: UInt64, _ event: Event) {
        let handler: Handler? = state.withLock { state in
            guard !state.isStopping, let watch = state.watches[id] else { return nil }
            state.running = id
            return watch.handler
        }
        guard let handler else { return }
        let disposition = handler(event)
        let (isOpen, dropped) = state.withLock { state in
            state.running = nil
            guard disposition == .remove || event.contains(.invalid) else {
                return (rearm(id, &state), nil as Watch?)
            }
            return (true, remove(id, &state))
        }
        handlerDone.broadcast()
        withExtendedLifetime(dropped) {}
        if !isOpen { dispatch(id, .invalid) }
    }

    // A report disarms a registration until the watch goes on. So a file that outlives its watched
    // descriptor, by a duplicate of it, can be reported once only for a watch that nobody can end
    // any more: EPOLL_CTL_DEL takes descriptors, not files.

    /// Registers `fd` with the kernel; false if it is closed.
    private func register(
        _ fd: Int32, _ events: UInt32, _ id: UInt64, _ state: inout State
    ) throws(Errno) -> Bool {
        do throws(Errno) {
            try poll.addOnce(fd, events: events, token: id)
        } catch .badFileDescriptor {
            return false
        } catch .fileExists where state.registered[fd] == nil {
            // Left of an earlier watch, whose descriptor was closed before it was unwatched.
            try poll.rearm(fd, events: events, token: id)
        }
        return true
    }

    /// Has the kernel report again for a watch that goes on; false if its descriptor is closed.
    private func rearm(_ id: UInt64, _ state: inout State) -> Bool {
        guard let watch = state.watches[id] else { return true }
        guard state.registered[watch.fd] == id else { return false }
        do throws(Errno) {
            try poll.rearm(watch.fd, events: watch.events, token: id)
            return true
        } catch {
            return false
        }
    }

    /// Ends a watch, and its registration unless the number is another watch's by now.
    private func remove(_ id: UInt64, _ state: inout State) -> Watch? {
        guard let watch = state.watches.removeValue(forKey: id) else { return nil }
        if state.registered[watch.fd] == id {
            state.registered[watch.fd] = nil
            poll.remove(watch.fd)
        }
        return watch
    }

    private static func event(_ bits: UInt32) -> Event {
        var event: Event = []
        if bits & GPUVM_EPOLL_IN != 0 { event.insert(.readable) }
        if bits & GPUVM_EPOLL_HUP != 0 { event.insert(.hangup) }
        if bits & GPUVM_EPOLL_ERR != 0 { event.insert(.error) }
        return event
    }
}
