import Engines

/// A channel of an open file: a queue of push buffers, and the engine state that its jobs share.
///
/// Threading: immutable.
struct NouveauChannel: Sendable {
    /// What the client calls it.
    let id: Int32
    /// Whether it is a copy engine's, not the graphics engine's.
    let isCopyEngine: Bool
    /// What SCLASS lists.
    let classes: [Int32]
    /// The GEM handle of the notifier that comes with it.
    let notifier: UInt32
    /// Nil if it was made while the file's VM was.
    let execution: Execution?

    struct Execution: Sendable {
        /// The client's handle of the queue.
        let handle: UInt32
        let queue: DeviceQueue
        /// What its jobs leave behind for the next ones.
        let channel: NVIDIAChannel
        let engine: NVIDIAEngine
        let jobs = ChannelJobs()
    }
}
