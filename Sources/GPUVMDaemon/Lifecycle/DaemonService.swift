import Fencing
import ServiceLifecycle
import UnixSignals

/// A daemon as the one service of a ServiceGroup, which turns SIGTERM and SIGINT into a graceful
/// shutdown; SIGHUP reloads the configuration.
struct DaemonService: Service {
    let daemon: Daemon
    /// Reads the configuration again.
    let loadAgain: @Sendable () throws(ConfigurationError) -> DaemonConfiguration
    /// Runs once clients can connect.
    let whenReady: @Sendable () -> Void

    /// Returns when the daemon has ended.
    ///
    /// - Throws: ``DaemonError`` if it does not start.
    func run() async throws {
        let signals = await UnixSignalsSequence(trapping: .sigterm, .sigint, .sighup)
        try daemon.start()
        whenReady()
        await withTaskGroup { group in
            group.addTask { await watch(signals) }
            group.addTask {
                // An error means that the group was cancelled, which is an end as well.
                let isGraceful = (try? await gracefulShutdown()) != nil
                await stop(graceful: isGraceful)
            }
            // The signals never end by themselves, so the first to return is the stop.
            await group.next()
            group.cancelAll()
        }
    }

    private func watch(_ signals: UnixSignalsSequence) async {
        var ends = 0
        for await signal in signals {
            if signal == .sighup {
                daemon.reload(loadAgain)
                continue
            }
            ends += 1
            // The first one is the group's.
            guard ends == 2 else { continue }
            daemon.logger.notice("a second signal: jobs are not waited for any more")
            await stop(graceful: false)
        }
    }

    /// The daemon's stop blocks, so it gets a thread that may: the signals must still be heard.
    private func stop(graceful: Bool) async {
        await withCheckedContinuation { continuation in
            let stop: @Sendable () -> Void = {
                daemon.stop(graceful: graceful)
                continuation.resume()
            }
            if let thread = RuntimeThread.start(name: "gpuvm-stop", stop) {
                thread.detach()
            } else {
                stop()
            }
        }
    }
}
