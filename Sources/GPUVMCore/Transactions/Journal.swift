/// The primitive changes of a transaction, in order, so that they can be undone in reverse.
///
/// Threading: as the VM that owns it. The buffer is used again: a steady state allocates nothing.
struct Journal {
    enum Change: UInt8 {
        /// VA `id` entered the tree.
        case vaInserted
        /// VA `id` left the tree, where `detail` entries with its start stood in front of it.
        case vaRemoved
        /// VA `id` was appended to its VM_BO's link order.
        case vaLinked
        /// VA `id` was taken out of the link order, behind the VA that its record still names.
        case vaUnlinked
        /// VA `id` had the flags `detail`.
        case vaFlags
        /// VM_BO `id` was created.
        case vmBOCreated
        /// VM_BO `id` lost its last reference; it is destroyed by the commit.
        case vmBODied
        /// VM_BO `id` had died in this transaction and is in use again; `detail`: was evicted.
        case vmBORevived
        /// VM_BO `id` became a zombie; it was number `detail` on its object's list.
        case vmBOZombie
        /// VM_BO `id` joined a list.
        case externalAdded, evictAdded
        /// VM_BO `id` left a list, where it stood behind `detail`.
        case externalRemoved, evictRemoved
    }

    struct Entry: BitwiseCopyable {
        var change: Change
        var id: UInt32
        var detail: UInt32
    }

    private struct Buffer {
        var entries: UnsafeMutablePointer<Entry>
        var count = 0
        var capacity: Int
    }

    private let buffer: UnsafeMutablePointer<Buffer>

    init() {
        let capacity = 64
        buffer = .allocate(capacity: 1)
        buffer.initialize(
            to: Buffer(entries: .allocate(capacity: capacity), capacity: capacity))
    }

    func destroy() {
        buffer.pointee.entries.deallocate()
        buffer.deallocate()
    }

    @inline(__always)
    var count: Int { buffer.pointee.count }

    @inline(__always)
    subscript(index: Int) -> Entry { buffer.pointee.entries[index] }

    @inline(__always)
    func append(_ change: Change, _ id: UInt32, _ detail: UInt32 = 0) {
        if buffer.pointee.count == buffer.pointee.capacity { grow() }
        let end = buffer.pointee.entries + buffer.pointee.count
        end.initialize(to: Entry(change: change, id: id, detail: detail))
        buffer.pointee.count &+= 1
    }

    func removeAll() { buffer.pointee.count = 0 }

    private func grow() {
        let old = buffer.pointee
        let larger = UnsafeMutablePointer<Entry>.allocate(capacity: old.capacity * 2)
        larger.initialize(from: old.entries, count: old.count)
        old.entries.deallocate()
        buffer.pointee.entries = larger
        buffer.pointee.capacity = old.capacity * 2
    }
}
