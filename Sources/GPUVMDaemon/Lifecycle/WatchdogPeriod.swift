/// How often a service manager wants to hear from this process: the protocol of
/// sd_watchdog_enabled(3).
enum WatchdogPeriod {
    /// The time between two signs of life, ns; nil if nobody waits for any.
    ///
    /// A third of what the manager allows, so that one that comes late is not the end.
    static func nanoseconds(environment: [String: String], processID: Int32) -> UInt64? {
        guard let text = environment["WATCHDOG_USEC"], let allowed = UInt64(text), allowed > 0,
            allowed <= UInt64.max / 1000
        else { return nil }
        if let pid = environment["WATCHDOG_PID"], Int32(pid) != processID { return nil }
        return max(1_000_000, allowed * 1000 / 3)
    }
}
