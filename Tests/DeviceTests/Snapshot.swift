import Device
import Memory
import PageTables

/// Everything of a VM that a failed request must leave as it was.
struct Snapshot: Equatable {
    struct Mapping: Equatable {
        var address, range, offset, buffer: UInt64
        var flags: UInt32
    }

    struct Leaf: Equatable {
        var address, physical, bytes: UInt64
        var isNull, isReadOnly: Bool
    }

    var mappings: [Mapping]
    var leaves: [Leaf] = []
    var references: [Int]
    var links: [[UInt64]]
    var tablesAllocated: Int
    var tablesReserved: Int
    var mappingsCounted: Int
    var vmReferences: Int

    init(_ device: Device, _ vm: DeviceVM, _ buffers: [TestBuffer]) {
        mappings = vm.mappings(from: 0, limit: .max).map {
            Mapping(
                address: $0.address, range: $0.range, offset: $0.offset, buffer: $0.buffer,
                flags: $0.flags.rawValue)
        }
        var leaves: [Leaf] = []
        vm.forEachLeaf {
            leaves.append(
                Leaf(
                    address: $0.address, physical: $0.physical, bytes: $0.bytes,
                    isNull: $0.isNull, isReadOnly: $0.flags.contains(.readOnly)))
        }
        self.leaves = leaves
        references = buffers.map(\.object.hardReferenceCount)
        links = buffers.map { vm.mappingAddresses(of: $0.object) }
        tablesAllocated = device.tablePool.allocated
        tablesReserved = device.tablePool.reserved
        mappingsCounted = device.status().mappings
        vmReferences = vm.referenceCount
    }
}
