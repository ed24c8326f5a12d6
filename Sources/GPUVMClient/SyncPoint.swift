import CWireProtocol

/// A binary sync object, or a point of a timeline: what a job waits for or signals.
public struct SyncPoint: Sendable {
    /// The wire's form.
    public let raw: gpuvm_sync
    /// Where the object's state lies in the client's fence pages.
    let fenceSlot: UInt32
}

/// How a wait for sync objects behaves; as DRM_SYNCOBJ_WAIT_FLAGS_*.
public struct WaitFlags: OptionSet, Sendable {
    /// GPUVM_WAIT_* bits.
    public let rawValue: UInt32

    /// Takes GPUVM_WAIT_* bits.
    public init(rawValue: UInt32) {
        self.rawValue = rawValue
    }

    /// Every point, not just one of them.
    public static let all = WaitFlags(rawValue: GPUVM_WAIT_ALL)
    /// Waits also for the submission of a point that has no fence yet; an error without it.
    public static let forSubmit = WaitFlags(rawValue: GPUVM_WAIT_FOR_SUBMIT)
    /// The submission of the points is all that is waited for.
    public static let available = WaitFlags(rawValue: GPUVM_WAIT_AVAILABLE)
}
