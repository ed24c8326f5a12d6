import CWireProtocol

/// Buffer objects and where they are.
enum BufferReport {
    static func list(_ buffers: [gpuvm_bo_record]) -> Report {
        var table = TextTable([
            ("ID", .right), ("CLIENT", .right), ("SIZE", .right), ("WANTS", .left),
            ("IS IN", .left), ("ADDRESS", .right), ("RUNS", .right), ("VMS", .right),
            ("STATE", .left), ("NAME", .left),
        ])
        for buffer in buffers {
            let client = Names.text(buffer.client)
            table.add([
                "\(buffer.id)", buffer.client_id == 0 ? "-" : "\(buffer.client_id)",
                size(buffer.size), Names.placement(buffer.wanted),
                Names.placement(buffer.placement), hex(buffer.physical_address),
                "\(buffer.extents)", "\(buffer.vms)", state(buffer.flags),
                Names.text(buffer.name) + (client.isEmpty ? "" : " (\(client))"),
            ])
        }
        return Report(lines: table.lines(), json: [("bos", .array(buffers.map { json($0) }))])
    }

    private static func state(_ flags: UInt32) -> String {
        let evicted = flags & GPUVM_BO_EVICTED != 0 ? ["evicted"] : []
        let names = evicted + Names.bufferFlags(flags)
        return names.isEmpty ? "-" : names.joined(separator: ",")
    }

    static func json(_ buffer: gpuvm_bo_record) -> JSON {
        .object([
            ("id", .number(buffer.id)),
            ("client", buffer.client_id == 0 ? .null : .number(buffer.client_id)),
            ("client_name", .string(Names.text(buffer.client))),
            ("handle", buffer.handle == 0 ? .null : .number(buffer.handle)),
            ("name", .string(Names.text(buffer.name))),
            ("size", .number(buffer.size)),
            ("wanted", .string(Names.placement(buffer.wanted))),
            ("placement", .string(Names.placement(buffer.placement))),
            ("evicted", .bool(buffer.flags & GPUVM_BO_EVICTED != 0)),
            ("flags", .array(Names.bufferFlags(buffer.flags).map { .string($0) })),
            ("vms", .number(buffer.vms)),
            ("extents", .number(buffer.extents)),
            ("physical_address", .address(buffer.physical_address)),
        ])
    }
}
