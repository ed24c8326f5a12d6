import GPUVMCore
import Memory
import PageTables

/// A VM at one moment, as `vm list` shows it.
public struct VMReport: Sendable {
    /// Device-wide id.
    public var id: UInt32
    /// The owner's id.
    public var client: UInt32
    /// What its owner calls it.
    public var name: String
    /// What the owner is called.
    public var clientName: String
    /// Whether it takes requests.
    public var condition: DeviceVM.Condition
    /// First address of the VA space.
    public var start: UInt64
    /// Bytes of the VA space.
    public var range: UInt64
    /// First byte of what the driver keeps for itself.
    public var reservedStart: UInt64
    /// Bytes of that; 0 for none.
    public var reservedRange: UInt64
    /// Mappings.
    public var mappings: Int
    /// Bytes that the mappings cover.
    public var mappedBytes: UInt64
    /// Buffers that they map.
    public var objects: Int
    /// Pages of its page table.
    public var tablePages: Int
    /// Where its page table begins.
    public var rootAddress: PhysicalAddress
    /// Leaves by size.
    public var leaves: LeafCounts
    /// Bind jobs that have not executed.
    public var pendingBinds: Int
}

extension DeviceVM {
    private func withMappingsLocked<Result>(_ body: () -> Result) -> Result {
        lock.withLock { withMappings(body) }
    }

    /// The VM as it is now.
    ///
    /// Complexity: O(mappings + tables), under the VM's lock.
    public func report() -> VMReport {
        lock.withLock {
            let (mappings, bytes) = withMappings {
                var bytes: UInt64 = 0
                space.forEachVA { va in
                    if !space.isReserved(va) { bytes &+= va.range }
                    return true
                }
                return (space.mappingCount, bytes)
            }
            let isOpen = condition != .closed
            return VMReport(
                id: id, client: client, name: name, clientName: clientName, condition: condition,
                start: space.start, range: space.range, reservedStart: space.reservedStart,
                reservedRange: space.reservedRange, mappings: mappings,
                mappedBytes: bytes,
                objects: space.objectCount, tablePages: isOpen ? table.audit().tables : 0,
                rootAddress: table.rootAddress,
                leaves: isOpen ? table.countLeaves() : LeafCounts(),
                pendingBinds: pending.count)
        }
    }

    /// The mappings from `address` on, at most `limit`, in ascending order.
    public func mappings(from address: UInt64, limit: Int) -> [MappingInfo] {
        withMappingsLocked {
            var list: [MappingInfo] = []
            space.forEachVA(from: address) { va in
                var info = MappingInfo(va)
                if space.isReserved(va) { info.flags.insert(.reserved) }
                if let object = va.object, space.isEvicted(object) { info.flags.insert(.evicted) }
                list.append(info)
                return list.count < limit
            }
            return list
        }
    }

    /// How many mappings there are, the reserved range not counted. O(1).
    public var mappingCount: Int { withMappingsLocked { space.mappingCount } }

    /// How many mappings of a buffer there are. O(them).
    func mappingCount(of buffer: BufferObject) -> Int {
        lock.withLock { space.vmBO(of: buffer)?.linkedCount ?? 0 }
    }

    /// What an MMU would read on its way to `address`; nil for a closed VM.
    public func walk(_ address: UInt64) -> PageTableWalk? {
        lock.withLock { condition == .closed ? nil : table.walk(address) }
    }

    /// Fills in what lies around a fault's address.
    func describeSurroundings(of report: inout FaultReport) {
        withMappingsLocked {
            let address = report.address
            let nearest = space.nearest(to: address)
            report.below = (nearest.containing ?? nearest.below).map { MappingInfo($0) }
            report.above = nearest.above.map { MappingInfo($0) }
            report.lastOperation = history.last(touching: address)
        }
    }
}

extension DeviceVM {
    /// Calls `body` for each leaf of the page table, by address. For tools and tests.
    public func forEachLeaf(_ body: (PageTableLeaf) -> Void) {
        lock.withLock {
            if condition != .closed { table.forEachLeaf { body($0) } }
        }
    }

    /// Where a buffer is mapped, in link order: the order in which UNMAP_ALL visits.
    public func mappingAddresses(of buffer: BufferObject) -> [UInt64] {
        withMappingsLocked {
            var addresses: [UInt64] = []
            space.forEachMapping(of: buffer) { addresses.append($0.address) }
            return addresses
        }
    }

    /// The kernel's reference count of the VA space: its owner's, one for each mapping and one for
    /// each VM/BO pair.
    public var referenceCount: Int { withMappingsLocked { space.referenceCount } }
}
