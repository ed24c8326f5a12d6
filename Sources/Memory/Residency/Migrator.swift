import Fencing

/// Who carries moves of buffers out: a device, with jobs of its copy engine.
///
/// Threading: any thread, with the moving buffer's reservation locked.
public protocol Migrator: AnyObject, Sendable {
    /// Submits a job that does what `move` says.
    ///
    /// From here on nothing about the move can fail.
    ///
    /// - Returns: The job's fence.
    /// - Throws: ``MemoryError/stopped`` when the device is shutting down; then nothing was submitted.
    func submit(_ move: BufferMove) throws(MemoryError) -> Fence
}
