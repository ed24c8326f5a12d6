import Fencing
import Synchronization

/// What of a device's configuration can change while clients use it.
///
/// Threading: any thread, with no lock of class `leaf` held.
final class DeviceTuning: Sendable {
    private let currentQuotas: Guarded<ClientQuotas>
    private let currentJobTimeout: Atomic<UInt64>

    init(_ configuration: DeviceConfiguration) {
        currentQuotas = Guarded(.leaf, configuration.quotas)
        currentJobTimeout = Atomic(configuration.jobTimeout)
    }

    /// What one client may hold: those who come from now on.
    var quotas: ClientQuotas {
        get { currentQuotas.withLock { $0 } }
        set { currentQuotas.withLock { $0 = newValue } }
    }

    /// The time-out of jobs whose queues ask for none, ns: queues that are made from now on.
    var jobTimeout: UInt64 {
        get { currentJobTimeout.load(ordering: .relaxed) }
        set { currentJobTimeout.store(newValue, ordering: .relaxed) }
    }
}
