import Device
import Fencing

/// Open files of the DRM shim, those that were closed last, and what all of them came to.
///
/// Threading: any thread.
final class DRMFileList: Sendable {
    /// An open file, or one that was.
    struct File: Sendable {
        let client: UInt32
        let process: Int32
        let user: UInt32
        let name: String
        /// CLOCK_MONOTONIC ns.
        let opened: UInt64
        /// CLOCK_MONOTONIC ns; 0 while it is open.
        var closed: UInt64 = 0
        let ledger: CallLedger
    }

    /// The most closed files that are remembered.
    static let maximumClosed = 1024

    /// Of all files, forgotten ones too.
    let total = CallLedger()

    private struct State {
        var files: [UInt32: File] = [:]
        var closed: [UInt32] = []
        var next = 0
    }

    private let state = Guarded(.leaf, State())

    /// Enters the file of a client and gives it its ledger.
    func open(_ client: Client) -> CallLedger {
        let ledger = CallLedger()
        let file = File(
            client: client.id, process: client.process, user: client.user, name: client.name,
            opened: Runtime.now(), ledger: ledger)
        state.withLock { $0.files[client.id] = file }
        return ledger
    }

    /// Takes note of the last close; the file that was closed longest ago may be forgotten.
    func close(_ client: UInt32) {
        let now = Runtime.now()
        // Those that are remembered may be many.
        file(ofClient: client)?.ledger.compact()
        let forgotten = state.withLock { state -> File? in
            state.files[client]?.closed = now
            if state.closed.count < Self.maximumClosed {
                state.closed.append(client)
                return nil
            }
            let oldest = exchange(&state.closed[state.next], with: client)
            state.next = (state.next + 1) % Self.maximumClosed
            return state.files.removeValue(forKey: oldest)
        }
        withExtendedLifetime(forgotten) {}
    }

    /// All that are remembered, by client.
    var files: [File] {
        state.withLock { Array($0.files.values) }.sorted { $0.client < $1.client }
    }

    func file(ofClient client: UInt32) -> File? { state.withLock { $0.files[client] } }

    /// Takes note of a fault, if a method that no engine carries out was the reason.
    func note(_ fault: FaultReport) {
        guard let failure = fault.failure, let method = failure.method else { return }
        switch failure.cause {
        case .unsupportedMethod, .unsupportedValue, .unknownClass:
            total.noteRefusal(method)
            file(ofClient: fault.client)?.ledger.noteRefusal(method)
        default: break
        }
    }
}
