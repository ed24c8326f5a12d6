/// Objects whose reservations an attempt has locked and made room in, as far as it remembers: a small
/// table that forgets, so that a repeated question costs no lock and no reference.
///
/// Threading: none of its own.
struct PreparedObjects {
    private struct Entry {
        /// The address of an object that lives as long as the attempt holds its reservation.
        var object: UnsafeMutableRawPointer?
        var slots = 0
    }

    private static let capacity = 16
    /// On the heap: one in place is copied to be looked at.
    private var entries = [Entry](repeating: Entry(), count: capacity)
    private var isEmpty = true

    @inline(__always)
    func contains(_ object: Unmanaged<GPUVMObject>, slots: Int) -> Bool {
        let address = object.toOpaque()
        let entry = entries[Self.index(of: address)]
        return entry.object == address && entry.slots >= slots
    }

    mutating func note(_ object: GPUVMObject, slots: Int) {
        let address = Unmanaged.passUnretained(object).toOpaque()
        entries[Self.index(of: address)] = Entry(object: address, slots: slots)
        isEmpty = false
    }

    /// Forgets all: the reservations may be given up, or their slots used.
    mutating func forget() {
        guard !isEmpty else { return }
        for index in entries.indices { entries[index] = Entry() }
        isEmpty = true
    }

    /// Objects lie at least 16 bytes apart.
    @inline(__always)
    private static func index(of address: UnsafeMutableRawPointer) -> Int {
        let bits = UInt(bitPattern: address)
        return Int((bits &>> 4 ^ bits &>> 9 ^ bits &>> 14) & UInt(capacity - 1))
    }
}
