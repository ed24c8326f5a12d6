import CWireProtocol

/// GPU VMs and their mappings.
enum VMReport {
    static func list(_ vms: [gpuvm_vm_record]) -> Report {
        var table = TextTable([
            ("ID", .right), ("CLIENT", .right), ("START", .right), ("RANGE", .right),
            ("VAS", .right), ("MAPPED", .right), ("BOS", .right), ("PT PAGES", .right),
            ("4K", .right), ("64K", .right), ("2M", .right), ("1G", .right), ("NULL", .right),
            ("PENDING", .right), ("STATE", .left), ("NAME", .left),
        ])
        for vm in vms {
            let state = Names.vmFlags(vm.flags)
            table.add([
                "\(vm.id)", "\(vm.client_id)", hex(vm.start), size(vm.range), "\(vm.mappings)",
                roughSize(vm.mapped_bytes), "\(vm.objects)", "\(vm.table_pages)", "\(vm.leaves_4k)",
                "\(vm.leaves_64k)", "\(vm.leaves_2m)", "\(vm.leaves_1g)", "\(vm.leaves_null)",
                "\(vm.pending_binds)", state.isEmpty ? "-" : state.joined(separator: ","),
                "\(Names.text(vm.name)) (\(Names.text(vm.client)))",
            ])
        }
        return Report(lines: table.lines(), json: [("vms", .array(vms.map { json($0) }))])
    }

    /// The layout of drm_debugfs_gpuva_info (drivers/gpu/drm/drm_debugfs.c), with two columns more.
    static func show(
        _ vm: gpuvm_vm_record, _ mappings: [gpuvm_va_record], sparse: [gpuvm_va_range] = []
    ) -> Report {
        Report(
            lines: header(vm) + sparse.map { region($0) } + [""] + table(mappings),
            json: [
                ("vm", json(vm)), ("sparse", .array(sparse.map { json($0) })),
                ("mappings", .array(mappings.map { json($0) })),
            ])
    }

    private static func region(_ range: gpuvm_va_range) -> String {
        "Sparse region [\(hex16(range.address));\(hex16(range.address &+ range.range))]"
    }

    static func json(_ range: gpuvm_va_range) -> JSON {
        .object([("address", .address(range.address)), ("range", .number(range.range))])
    }

    static func header(_ vm: gpuvm_vm_record) -> [String] {
        let reservedEnd = vm.reserved_start &+ vm.reserved_range
        return [
            """
            DRM GPU VA space (\(Names.text(vm.name))) [\(hex16(vm.start));\
            \(hex16(vm.start &+ vm.range))]
            """,
            "Kernel reserved node [\(hex16(vm.reserved_start));\(hex16(reservedEnd))]",
        ]
    }

    static func table(_ mappings: [gpuvm_va_record]) -> [String] {
        let titles = ["start", "range", "end", "object", "object offset"]
        let head = " VAs | " + titles.map { $0.padded(18) }.joined(separator: " | ") + " | name"
        var lines = [head, String(repeating: "-", count: head.count + 8)]
        // The kernel's loop leaves its reserved node out too.
        for mapping in mappings where mapping.flags & GPUVM_MAPPING_RESERVED == 0 {
            let numbers = [
                mapping.address, mapping.range, mapping.address &+ mapping.range, mapping.object,
                mapping.offset,
            ]
            let flags = Names.mappingFlags(mapping.flags)
            var name = Names.text(mapping.name)
            if !flags.isEmpty { name += (name.isEmpty ? "" : " ") + flags.joined(separator: ",") }
            lines.append(
                "     | " + numbers.map { hex16($0) }.joined(separator: " | ") + " | \(name)")
        }
        return lines
    }

    static func json(_ vm: gpuvm_vm_record) -> JSON {
        .object([
            ("id", .number(vm.id)),
            ("handle", .number(vm.handle)),
            ("client", .number(vm.client_id)),
            ("client_name", .string(Names.text(vm.client))),
            ("name", .string(Names.text(vm.name))),
            ("flags", .array(Names.vmFlags(vm.flags).map { .string($0) })),
            ("start", .address(vm.start)),
            ("range", .number(vm.range)),
            ("reserved_start", .address(vm.reserved_start)),
            ("reserved_range", .number(vm.reserved_range)),
            ("mappings", .number(vm.mappings)),
            ("mapped_bytes", .number(vm.mapped_bytes)),
            ("objects", .number(vm.objects)),
            ("table_pages", .number(vm.table_pages)),
            ("root_address", .address(vm.root_address)),
            ("leaves_4k", .number(vm.leaves_4k)),
            ("leaves_64k", .number(vm.leaves_64k)),
            ("leaves_2m", .number(vm.leaves_2m)),
            ("leaves_1g", .number(vm.leaves_1g)),
            ("leaves_null", .number(vm.leaves_null)),
            ("pending_binds", .number(vm.pending_binds)),
        ])
    }

    static func json(_ mapping: gpuvm_va_record) -> JSON {
        .object([
            ("address", .address(mapping.address)),
            ("range", .number(mapping.range)),
            ("object", .number(mapping.object)),
            ("offset", .address(mapping.offset)),
            ("placement", .string(Names.placement(mapping.placement))),
            ("flags", .array(Names.mappingFlags(mapping.flags).map { .string($0) })),
            ("name", .string(Names.text(mapping.name))),
        ])
    }
}
