import CWireProtocol
import Device
import Memory
import PageTables
import SystemPackage
import WireProtocol

extension Session {
    /// A VM's page tables as bytes: a page of all of it, or what is on the way to one address.
    func vmTables(
        _ client: Client, _ message: inout IncomingMessage
    ) throws(WireError) -> OutgoingMessage {
        var reader = message.reader
        let request: gpuvm_vm_tables = try reader.read()
        try requireFlags(request.flags, known: GPUVM_TABLES_ON_WAY, "flags")
        let vm = try visibleVM(client, request.vm)
        var reply = gpuvm_vm_tables_reply()
        let entries: [TableEntry]
        let closed = WireError(.noSuchFileOrDirectory, "VM \(request.vm) was closed")
        if request.flags & GPUVM_TABLES_ON_WAY != 0 {
            guard let way = vm.tableEntries(onWayTo: request.address) else { throw closed }
            entries = way
        } else {
            // A page stays inline: what does not fit comes with the next request.
            let limit =
                (Int(GPUVM_MAX_INLINE) - MemoryLayout<gpuvm_header>.size
                    - MemoryLayout<gpuvm_vm_tables_reply>.size)
                / MemoryLayout<gpuvm_table_entry>.stride
            guard let page = vm.tableEntries(from: request.address, limit: limit) else {
                throw closed
            }
            entries = page.entries
            reply.cursor = page.next ?? 0
        }
        reply.count = UInt32(entries.count)
        switch vm.format {
        case .generic: reply.format = GPUVM_TABLE_GENERIC48.rawValue
        case .gp100: reply.format = GPUVM_TABLE_GP100.rawValue
        }
        reply.root_address = vm.addressSpace.rootAddress
        reply.vram_base = PhysicalMemoryMap.vramBase
        var builder = ReplyBuilder(to: .vmTables, serial: message.serial)
        builder.append(reply)
        builder.append(
            contentsOf: entries.map { entry in
                gpuvm_table_entry(
                    address: entry.address, table: entry.table, entry: entry.rawValue,
                    index: UInt32(entry.index), level: UInt16(entry.level),
                    part: UInt16(entry.part.rawValue))
            })
        return try builder.finish()
    }
}
