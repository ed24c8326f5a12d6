import CWireProtocol
import WireProtocol

/// The bytes of a VM's page tables.
public struct PageTableDump: Sendable {
    /// enum gpuvm_table_format; more may come with later daemons.
    public var format: UInt32
    /// The physical address of the root table.
    public var rootAddress: UInt64
    /// The physical address that NVIDIA's ADDRESS_VID fields count from.
    public var vramBase: UInt64
    /// The entries, by address and at one address from the root down.
    public var entries: [gpuvm_table_entry]

    /// Puts a dump together.
    public init(
        format: UInt32, rootAddress: UInt64, vramBase: UInt64, entries: [gpuvm_table_entry]
    ) {
        self.format = format
        self.rootAddress = rootAddress
        self.vramBase = vramBase
        self.entries = entries
    }
}

extension Connection {
    /// All entries of a VM's page tables that are not zero.
    ///
    /// They are read page by page: a VM that changes meanwhile may show a mix.
    /// - Parameter vm: The device-wide id, as in ``vms()``.
    /// - Throws: ENOENT; EOPNOTSUPP from a daemon of protocol 1.1 or older.
    public func pageTables(ofVM vm: UInt32) throws(ClientError) -> PageTableDump {
        var dump = try readTables(gpuvm_vm_tables(vm: vm, flags: 0, address: 0))
        while dump.cursor != 0 {
            let page = try readTables(gpuvm_vm_tables(vm: vm, flags: 0, address: dump.cursor))
            // A page without entries and without an end would be asked for for ever.
            guard page.cursor == 0 || !page.dump.entries.isEmpty else {
                throw ClientError(.protocolError, .vmTables, "the daemon sent an empty page")
            }
            dump.dump.entries += page.dump.entries
            dump.cursor = page.cursor
        }
        return dump.dump
    }

    /// The entries that a walk for an address may read, zero or not.
    ///
    /// - Parameter vm: The device-wide id, as in ``vms()``.
    /// - Throws: ENOENT; EOPNOTSUPP from a daemon of protocol 1.1 or older.
    public func pageTables(
        ofVM vm: UInt32, onWayTo address: UInt64
    ) throws(ClientError) -> PageTableDump {
        try readTables(
            gpuvm_vm_tables(vm: vm, flags: GPUVM_TABLES_ON_WAY, address: address)
        ).dump
    }

    private func readTables(
        _ request: gpuvm_vm_tables
    ) throws(ClientError) -> (dump: PageTableDump, cursor: UInt64) {
        let (head, entries) = try calls.perform(Request(.vmTables, request)).array(
            gpuvm_vm_tables_reply.self, of: gpuvm_table_entry.self
        ) { $0.count }
        return (
            PageTableDump(
                format: head.format, rootAddress: head.root_address, vramBase: head.vram_base,
                entries: entries), head.cursor
        )
    }
}
