import Synchronization

/// What the device has done since its start.
final class DeviceCounters: Sendable {
    let bindJobs = Atomic<UInt64>(0)
    let execJobs = Atomic<UInt64>(0)
    let failedJobs = Atomic<UInt64>(0)
    let faults = Atomic<UInt64>(0)
}
