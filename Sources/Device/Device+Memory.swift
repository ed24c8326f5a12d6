import Fencing
import GPUVMCore
import Memory

extension Device {
    /// Gives a new buffer its first frames.
    ///
    /// - Throws: ENOSPC, ENOMEM, EINTR.
    func place(_ buffer: BufferObject, cancellation: Cancellation) throws(DeviceError) {
        var locking = ExecLocking(ignoresDuplicates: true, cancellation: cancellation)
        try locking.lockAll { locking throws(GPUVMError) in
            try locking.prepare(buffer, slots: 1)
        } then: { locking throws(ResidencyError) in
            try residency.makeResident(buffer, locking: &locking, sparesLocked: false)
        }
        locking.unlockAll()
    }

    /// Whether jobs whose fences have signalled have still to let go of what they held.
    public var hasPendingReleases: Bool { releases.isPending }

    /// Returns when what nobody holds any more has gone back to regions and quotas, or after
    /// ``ReleaseBarrier/patience``.
    ///
    /// A buffer without holders lives as long as the jobs that use it, its own move among them. TTM
    /// keeps such a one on a list of delayed destructions, and who finds no room waits for its fences
    /// (ttm_bo.c).
    func waitForReleases() {
        residency.wait(
            for: unheldBuffers, deadline: Runtime.deadline(after: ReleaseBarrier.patience))
        releases.wait()
    }

    /// Takes buffers that nobody holds any more out of the VMs that only refer to them.
    ///
    /// Called, with no lock held, by whatever may have dropped a last hard reference.
    func unmapUnheldBuffers() {
        for buffer in residency.takeUnheld() {
            for space in buffer.vms {
                (space.driverData as? ExecutedSpace)?.vm?.unmapUnheld(buffer)
            }
        }
    }
}

extension ExecLocking {
    /// Locks by `lockObjects`, then runs `makeRoom`, until neither meets contention.
    mutating func lockAll(
        _ lockObjects: (inout ExecLocking) throws(GPUVMError) -> Void,
        then makeRoom: (inout ExecLocking) throws(ResidencyError) -> Void
    ) throws(DeviceError) {
        var problem: MemoryError?
        do throws(GPUVMError) {
            try untilAllLocked { locking throws(GPUVMError) in
                try lockObjects(&locking)
                do throws(ResidencyError) {
                    try makeRoom(&locking)
                } catch {
                    switch error {
                    case .locking(let error): throw error
                    case .memory(let error):
                        problem = error
                        throw .validationFailed(errno: error.errno)
                    }
                }
            }
        } catch {
            if let problem { throw .memory(problem) }
            throw .space(error)
        }
    }
}
