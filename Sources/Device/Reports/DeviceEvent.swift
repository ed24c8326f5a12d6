/// Something that happened in the device and that an operator wants to know.
public enum DeviceEvent: Sendable {
    /// An engine's access failed; its queue is banned.
    case fault(FaultReport)
    /// A job was stopped by its time-out; its queue is banned.
    case jobTimedOut(client: UInt32, vm: UInt32, queue: UInt32)
    /// An asynchronous bind failed; the VM is banned.
    case vmBanned(client: UInt32, vm: UInt32, errno: Int32)
    /// A job has ended; only with ``DeviceConfiguration/reportsJobs``.
    case jobEnded(JobReport)
    /// A rule of fault injection fired.
    case injected(InjectionFiring)
}
