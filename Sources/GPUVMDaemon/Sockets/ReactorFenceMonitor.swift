import Fencing
import SystemPackage

/// Watches the daemon's ends of exported fence fds with a ``Reactor``.
///
/// Threading: any thread, with no lock held, as ``FenceFDMonitor`` promises.
public final class ReactorFenceMonitor: FenceFDMonitor {
    private struct State {
        weak var registry: FenceFDRegistry?
        var tokens: [UInt64: Reactor.Token] = [:]
    }

    private let reactor: Reactor
    private let state = Guarded(.daemon, State())

    private init(reactor: Reactor) { self.reactor = reactor }

    /// A registry whose closed fds `reactor` finds.
    public static func registry(on reactor: Reactor) -> FenceFDRegistry {
        let monitor = ReactorFenceMonitor(reactor: reactor)
        let registry = FenceFDRegistry(monitor: monitor)
        monitor.state.withLock { $0.registry = registry }
        return registry
    }

    /// Reports the hang-up of `fd` to the registry, once.
    ///
    /// - Throws: ``FencingError/system(errno:call:)`` with ENOMEM or ENOSPC.
    public func watch(fd: Int32, token: UInt64) throws(FencingError) {
        do throws(Errno) {
            // Under the lock, so that a hang-up at once finds the token that it is to remove.
            try state.withLock { state throws(Errno) in
                state.tokens[token] = try reactor.watch(fd, for: .hangup) { [weak self] _ in
                    self?.closed(token)
                    return .remove
                }
            }
        } catch {
            throw .system(errno: error.rawValue, call: "epoll_ctl")
        }
    }

    /// Ends the watch of `token`; harmless after the hang-up.
    public func unwatch(fd: Int32, token: UInt64) {
        let watch = state.withLock { $0.tokens.removeValue(forKey: token) }
        if let watch { reactor.unwatch(watch) }
    }

    private func closed(_ token: UInt64) {
        let registry = state.withLock { $0.registry }
        registry?.peerClosed(token: token)
    }
}
