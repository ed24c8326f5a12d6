import Fencing
import GPUVMCore

/// An object of the core scenarios that knows when it is gone.
final class CoreObject: GPUVMObject, @unchecked Sendable {
    // @unchecked: threads of a run take turns.
    let isPrivate: Bool
    private(set) var isGone = false

    init(of vm: CoreObject? = nil) {
        isPrivate = vm != nil
        super.init(reservation: vm?.reservation ?? Reservation())
    }

    override func lastHardReferenceDropped() {
        precondition(!isGone, "the last hard reference was dropped twice")
        isGone = true
    }
}
