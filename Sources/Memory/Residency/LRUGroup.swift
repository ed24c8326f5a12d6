import Fencing

// @unchecked: everything is guarded by the lock of the LRU list, see ``LRUList``.
/// The buffers of one reservation: they are used together, because whoever submits locks them
/// together.
final class LRUGroup: @unchecked Sendable {
    let reservation: Reservation
    var first: LRUNode?
    unowned(unsafe) var last: LRUNode?
    var next: LRUGroup?
    unowned(unsafe) var previous: LRUGroup?

    init(_ reservation: Reservation) { self.reservation = reservation }
}
