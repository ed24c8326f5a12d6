import Fencing
import GPUVMCore

// @unchecked: its superclass synchronises itself, and what it adds is immutable.
/// An object that vectors name by a number.
final class VectorObject: GPUVMObject, @unchecked Sendable {
    let id: Int

    init(id: Int, reservation: Reservation) {
        self.id = id
        super.init(reservation: reservation)
    }
}
