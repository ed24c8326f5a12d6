// @unchecked: everything is guarded by the lock of the LRU list, see ``LRUList``.
/// A buffer's place in an ``LRUList``.
final class LRUNode: @unchecked Sendable {
    /// The list keeps no buffer, and finds none that is just going away.
    var reference: BufferReference?
    var buffer: BufferObject? { reference?.buffer }
    /// Nil while it is on no list.
    var group: LRUGroup?
    /// Which list: that of the VRAM beyond the CPU's reach.
    var isHidden = false
    var next: LRUNode?
    unowned(unsafe) var previous: LRUNode?
}
