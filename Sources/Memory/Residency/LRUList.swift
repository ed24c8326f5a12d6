import Fencing

/// The buffers of a memory region by their last use, grouped by reservation.
///
/// A submission locks the reservations of all that it may use, and one reservation may stand for any
/// number of private buffers; so the list is one of reservations, and a submission's bump costs
/// O(reservations), as the kernel's bulk moves (drivers/gpu/drm/ttm/ttm_resource.c). Within a
/// reservation the buffers are in the order in which they became resident.
///
/// A buffer keeps its ``Residency`` and with it the list, so that a list ends empty.
///
/// Threading: guarded by the lock that it lies behind.
struct LRUList: ~Copyable {
    private var first: LRUGroup?
    private var last: LRUGroup?
    private var groups: [ObjectIdentifier: LRUGroup] = [:]
    private(set) var count: UInt64 = 0

    /// Adds a buffer as the last of its reservation, which becomes the one used last if it is new.
    mutating func insert(_ buffer: BufferObject) {
        let node = buffer.lruNode
        precondition(node.group == nil, "a buffer is on one list at a time")
        node.reference = buffer.reference
        let key = ObjectIdentifier(buffer.reservation)
        let group: LRUGroup
        if let known = groups[key] {
            group = known
        } else {
            group = LRUGroup(buffer.reservation)
            groups[key] = group
            append(group)
        }
        node.group = group
        node.previous = group.last
        if let last = group.last { last.next = node } else { group.first = node }
        group.last = node
        count += 1
    }

    /// Takes a buffer off; nothing if it is not on the list.
    mutating func remove(_ node: LRUNode) {
        guard let group = node.group else { return }
        if let previous = node.previous {
            previous.next = node.next
        } else {
            group.first = node.next
        }
        if let next = node.next {
            next.previous = node.previous
        } else {
            group.last = node.previous
        }
        node.next = nil
        node.previous = nil
        node.group = nil
        count -= 1
        if group.first == nil {
            unlink(group)
            groups[ObjectIdentifier(group.reservation)] = nil
        }
    }

    /// Makes a reservation the one used last.
    mutating func touch(_ reservation: Reservation) {
        guard let group = groups[ObjectIdentifier(reservation)], group.next != nil else { return }
        unlink(group)
        append(group)
    }

    /// All buffers, least recently used first, by reservation.
    func buffers() -> [BufferObject] {
        var list: [BufferObject] = []
        list.reserveCapacity(Int(count))
        var group = first
        while let current = group {
            var node = current.first
            while let member = node {
                if let buffer = member.buffer { list.append(buffer) }
                node = member.next
            }
            group = current.next
        }
        return list
    }

    private mutating func append(_ group: LRUGroup) {
        group.previous = last
        group.next = nil
        if let last { last.next = group } else { first = group }
        last = group
    }

    private mutating func unlink(_ group: LRUGroup) {
        if let previous = group.previous { previous.next = group.next } else { first = group.next }
        if let next = group.next { next.previous = group.previous } else { last = group.previous }
        group.next = nil
        group.previous = nil
    }
}
