/// What a job does on its engine: the part that a driver writes.
///
/// Source: `struct drm_sched_backend_ops` (include/drm/gpu_scheduler.h).
///
/// Threading: every method is called on a thread of the job's engine, never two at once and with
/// no lock held. ``run(_:)``, ``reset(error:)`` and ``completed(error:)`` are called inside a
/// `SignallingSection`: everything they need was allocated before the job was armed.
public protocol JobBody: AnyObject, Sendable {
    /// Executes the job's next quantum.
    ///
    /// The engine belongs to the job until this returns, so it returns in bounded time: after
    /// ``JobSlice/deadline``, or soon after ``JobSlice/shouldStop`` turns true.
    func run(_ slice: inout JobSlice) -> JobOutcome

    /// Throws the job's engine context away: it ran, and it will neither finish nor run again.
    ///
    /// Called before ``completed(error:)`` when the job failed, timed out or was stopped.
    func reset(error: Int32)

    /// Called once, right before the out-fence signals with the same `error`.
    ///
    /// This is the place for what must be true when the fence is seen: TLBs invalidated, retired
    /// page tables returned. Called for cancelled jobs too, with ECANCELED, whether or not they
    /// ever ran. It must not fail.
    ///
    /// - Parameter error: A positive errno, or 0 for success.
    func completed(error: Int32)

    /// Called once after the out-fence has signalled, outside the signalling section: the place to
    /// drop what the job held.
    ///
    /// It may take any lock but one under which somebody waits for the queue
    /// (``JobQueue/waitUntilIdle(deadline:)``).
    func released(error: Int32)
}

extension JobBody {
    /// Does nothing.
    public func reset(error: Int32) {}

    /// Does nothing.
    public func completed(error: Int32) {}

    /// Does nothing.
    public func released(error: Int32) {}
}
