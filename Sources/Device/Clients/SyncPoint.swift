/// A sync object of a client, or a point of it.
public struct SyncPoint: Sendable, Equatable {
    /// The client's handle.
    public var handle: UInt32
    /// The timeline's point; 0 for a binary sync object.
    public var point: UInt64
    /// Whether it is a point of a timeline.
    public var isTimeline: Bool

    /// Names a point.
    public init(handle: UInt32, point: UInt64 = 0, isTimeline: Bool = false) {
        self.handle = handle
        self.point = point
        self.isTimeline = isTimeline
    }
}
