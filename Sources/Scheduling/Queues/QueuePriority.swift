/// How urgent a queue is against the other queues of its engine.
///
/// Source: `enum drm_sched_priority` (include/drm/gpu_scheduler.h).
public enum QueuePriority: UInt8, CaseIterable, Comparable, Sendable {
    /// Runs when nothing else can.
    case low
    /// The default.
    case normal
    /// Before the ordinary.
    case high
    /// Before everything.
    case realtime

    /// Less urgent comes first.
    public static func < (a: QueuePriority, b: QueuePriority) -> Bool { a.rawValue < b.rawValue }
}
