/// Finds the VM_BO of an object: a hash table whose chains run through the records, so that an
/// insertion needs no memory and cannot fail.
///
/// Threading: changed under the VM's list lock, in normal mode under the VM lock too, so that either
/// suffices to look something up. O(1).
struct VMBOIndex {
    private struct Header {
        var bucketMask = 63
        var count = 0
    }

    /// Zeroed memory for `maximumBuckets` buckets.
    private let buckets: UnsafeMutablePointer<UInt32>
    private let maximumBuckets: Int
    private let records: UnsafeMutablePointer<VMBORecord>
    private let header: UnsafeMutablePointer<Header>

    /// How many buckets an index of so many VM_BOs has at most: a power of two.
    static func maximumBuckets(objectCapacity: Int) -> Int {
        var buckets = 64
        while buckets < objectCapacity { buckets *= 2 }
        return buckets
    }

    init(
        buckets: UnsafeMutablePointer<UInt32>, maximumBuckets: Int,
        records: UnsafeMutablePointer<VMBORecord>
    ) {
        self.buckets = buckets
        self.maximumBuckets = maximumBuckets
        self.records = records
        header = .allocate(capacity: 1)
        header.initialize(to: Header())
    }

    /// Ends the index; buckets and records are not touched.
    func destroy() { header.deallocate() }

    @inline(__always)
    private static func hash(_ object: UnsafeMutableRawPointer) -> Int {
        // Fibonacci hashing: the upper half of the product depends on every bit of the address.
        Int(truncatingIfNeeded: (UInt64(UInt(bitPattern: object)) &* 0x9e37_79b9_7f4a_7c15) >> 32)
    }

    /// The VM_BO of an object, or 0.
    @inline(__always)
    func find(_ object: UnsafeMutableRawPointer) -> UInt32 {
        var id = buckets[Self.hash(object) & header.pointee.bucketMask]
        while id != 0, records[Int(id)].object?.toOpaque() != object {
            id = records[Int(id)].nextInBucket
        }
        return id
    }

    func insert(_ id: UInt32) {
        if header.pointee.count > header.pointee.bucketMask,
            header.pointee.bucketMask + 1 < maximumBuckets
        {
            doubleBuckets()
        }
        push(id, mask: header.pointee.bucketMask)
        header.pointee.count += 1
    }

    func remove(_ id: UInt32) {
        guard let object = records[Int(id)].object?.toOpaque() else {
            preconditionFailure("a VM_BO has no object")
        }
        let bucket = Self.hash(object) & header.pointee.bucketMask
        let next = records[Int(id)].nextInBucket
        if buckets[bucket] == id {
            buckets[bucket] = next
        } else {
            var previous = buckets[bucket]
            while records[Int(previous)].nextInBucket != id {
                previous = records[Int(previous)].nextInBucket
                precondition(previous != 0, "a VM_BO is not in the index")
            }
            records[Int(previous)].nextInBucket = next
        }
        records[Int(id)].nextInBucket = 0
        header.pointee.count -= 1
    }

    @inline(__always)
    private func push(_ id: UInt32, mask: Int) {
        guard let object = records[Int(id)].object?.toOpaque() else {
            preconditionFailure("a VM_BO has no object")
        }
        let bucket = Self.hash(object) & mask
        records[Int(id)].nextInBucket = buckets[bucket]
        buckets[bucket] = id
    }

    /// Splits each bucket in two; the memory for them lies behind the old ones, still zero.
    private func doubleBuckets() {
        let old = header.pointee.bucketMask + 1
        let mask = 2 * old - 1
        for bucket in 0..<old {
            var id = buckets[bucket]
            buckets[bucket] = 0
            while id != 0 {
                let next = records[Int(id)].nextInBucket
                push(id, mask: mask)
                id = next
            }
        }
        header.pointee.bucketMask = mask
    }
}
