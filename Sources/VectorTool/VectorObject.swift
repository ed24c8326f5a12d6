import Fencing
import GPUVMCore

/// An object that vectors name by a number.
final class VectorObject: GPUVMObject, @unchecked Sendable {
    let id: Int

    init(id: Int, reservation: Reservation) {
        self.id = id
        super.init(reservation: reservation)
    }
}
