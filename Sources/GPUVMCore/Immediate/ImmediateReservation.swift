/// The mappings that requests executed in immediate mode may add at worst, taken out of the VM's
/// capacity at submission, so that the execution cannot fail.
///
/// Dropping it gives the rest back.
///
/// Threading: one owner at a time; a drop needs no lock and may happen on the signalling path.
public struct ImmediateReservation: ~Copyable, Sendable {
    /// A request that maps adds itself and what it leaves of a mapping in front and behind.
    static let mappingsPerMap = 3
    /// A request that unmaps leaves at most two pieces.
    static let mappingsPerUnmap = 2

    let vm: GPUVM
    /// How many more mappings may be added.
    public internal(set) var mappings: Int

    deinit { vm.uncommitVAs(mappings) }

    /// Takes over what another reservation of the same VM has left.
    public mutating func absorb(_ other: consuming ImmediateReservation) {
        precondition(other.vm === vm, "a reservation of another VM")
        mappings += other.mappings
        other.mappings = 0
    }

    /// Gives the rest back before the value goes.
    public mutating func giveBack() {
        vm.uncommitVAs(mappings)
        mappings = 0
    }
}

extension GPUVM {
    /// Reserves the mappings that so many requests add at worst: three for each map, two for each
    /// unmap of a range; an unmap of an object adds none.
    ///
    /// Immediate mode only; needs no lock.
    ///
    /// - Throws: ``GPUVMError/outOfMemory(needed:)`` if the VM's capacity, less what exists and what
    ///   others have reserved, is too small.
    public func reserveImmediate(
        maps: Int, unmaps: Int
    ) throws(GPUVMError) -> ImmediateReservation {
        precondition(isImmediate, "the VM is not in immediate mode")
        precondition((0...1 << 28).contains(maps) && (0...1 << 28).contains(unmaps))
        let needed =
            maps * ImmediateReservation.mappingsPerMap
            + unmaps * ImmediateReservation.mappingsPerUnmap
        guard commitVAs(needed) else { throw .outOfMemory(needed: needed) }
        return ImmediateReservation(vm: self, mappings: needed)
    }

    /// Takes mappings out of the capacity, all or none.
    func commitVAs(_ count: Int) -> Bool {
        var committed = committedVAs.load(ordering: .relaxed)
        while committed + count <= capacity {
            let (done, found) = committedVAs.weakCompareExchange(
                expected: committed, desired: committed + count, ordering: .relaxed)
            if done { return true }
            committed = found
        }
        return false
    }

    func uncommitVAs(_ count: Int) {
        if count != 0 { committedVAs.subtract(count, ordering: .relaxed) }
    }
}
