/// Fixed-size slots named by 32-bit numbers that stay valid until freed; 0 names none.
///
/// A freed slot is the next one handed out, so that a steady state touches no new memory.
///
/// Threading: as the VM that owns it. O(1).
struct SlotPool<Slot: BitwiseCopyable> {
    private struct Header {
        var used: UInt32 = 0
        var next: UInt32 = 1
        var free: UInt32 = 0
    }

    /// Slot 0 is never handed out.
    let slots: UnsafeMutablePointer<Slot>
    private let header: UnsafeMutablePointer<Header>
    let capacity: UInt32

    /// `slots` has room for `capacity + 1` slots and outlives the pool.
    init(slots: UnsafeMutablePointer<Slot>, capacity: UInt32) {
        self.slots = slots
        self.capacity = capacity
        header = .allocate(capacity: 1)
        header.initialize(to: Header())
    }

    /// Ends the pool; its slots are not touched.
    func destroy() { header.deallocate() }

    /// Frees every slot at once.
    func reset() { header.pointee = Header() }

    @inline(__always)
    subscript(id: UInt32) -> Slot {
        get { slots[Int(id)] }
        nonmutating _modify { yield &slots[Int(id)] }
    }

    /// Behind the last slot that was ever handed out.
    var end: UInt32 { header.pointee.next }

    @inline(__always)
    var usedCount: Int { Int(header.pointee.used) }

    @inline(__always)
    var availableCount: Int { Int(capacity &- header.pointee.used) }

    /// The caller has made sure that a slot is available.
    @inline(__always)
    func allocate(_ slot: Slot) -> UInt32 {
        let id: UInt32
        if header.pointee.free != 0 {
            id = header.pointee.free
            // A free slot's first four bytes name the next free one.
            header.pointee.free = UnsafeRawPointer(slots + Int(id)).load(as: UInt32.self)
        } else {
            precondition(header.pointee.next <= capacity, "slot pool exhausted")
            id = header.pointee.next
            header.pointee.next &+= 1
        }
        header.pointee.used &+= 1
        slots[Int(id)] = slot
        return id
    }

    @inline(__always)
    func free(_ id: UInt32) {
        UnsafeMutableRawPointer(slots + Int(id)).storeBytes(
            of: header.pointee.free, as: UInt32.self)
        header.pointee.free = id
        header.pointee.used &-= 1
    }
}
