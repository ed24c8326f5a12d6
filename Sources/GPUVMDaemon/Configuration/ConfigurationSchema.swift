/// Every key that a configuration may have: the one place that knows names, ranges and texts.
///
/// Adding a key is a line here, a field in ``DaemonConfiguration`` and a paragraph in
/// `Config/gpuvmd.yaml`; a test holds the three together.
enum ConfigurationSchema {
    private static let kib: UInt64 = 1 << 10
    private static let mib: UInt64 = 1 << 20
    private static let gib: UInt64 = 1 << 30
    private static let tib: UInt64 = 1 << 40
    private static let millisecond: UInt64 = 1_000_000
    private static let minute: UInt64 = 60_000_000_000

    /// The keys in the order in which they are printed.
    static let keys: [ConfigurationKey] = [
        .optionalText(
            "socket.path", \.socket.path,
            allowed: "an absolute path of at most \(SocketLocation.maximumPathBytes) bytes",
            "Where clients connect.", where: SocketLocation.isValidAbsolutePath),
        .mode(
            "socket.mode", \.socket.mode, 0o600...0o777, "Permission bits of the socket file."),
        .optionalText(
            "socket.group", \.socket.group, allowed: "the name or number of a group",
            "Group that owns the socket file.",
            where: { !$0.isEmpty && $0.utf8.count <= 256 && YAMLText.isPrintable($0) }),

        .principals(
            "access.users", \.access.users, .user, "Users who may connect."),
        .principals(
            "access.groups", \.access.groups, .group, "Groups whose members may connect."),
        .principals(
            "access.privileged_users", \.access.privilegedUsers, .user,
            "Users who may see other clients, use high priority and inject faults."),
        .principals(
            "access.privileged_groups", \.access.privilegedGroups, .group,
            "Groups whose members may do the same."),

        .choice("log.level", \.log.level, "Lines below this level are not written."),
        .choice("log.format", \.log.format, "The form of a line."),
        .count(
            "log.client_lines_per_second", \.log.clientLinesPerSecond, 1...10_000,
            "Lines that one client may cause in a second."),

        .text(
            "device.name", \.device.name, allowed: "1 to 32 bytes of printable text",
            "The name that clients and logs show.",
            where: { (1...32).contains($0.utf8.count) && YAMLText.isPrintable($0) }),
        .choice("device.model", \.device.model, "The GPU that DRM programs take it for."),
        .size(
            "device.vram", \.device.vram, 16 * mib...tib, multipleOf: 2 * mib,
            "Video memory for buffer objects."),
        .optionalSize(
            "device.visible_vram", \.device.visibleVRAM, 2 * mib...tib, multipleOf: 2 * mib,
            "Video memory within the CPU's reach, at most device.vram."),
        .size(
            "device.system_memory", \.device.systemMemory, 16 * mib...tib, multipleOf: 2 * mib,
            "System memory for buffer objects."),
        .size(
            "device.page_table_memory", \.device.pageTableMemory, 64 * kib...16 * gib,
            multipleOf: 64 * kib, "Private video memory for page tables."),
        .count(
            "device.copy_engines", \.device.copyEngines, 1...16,
            "Engines that execute command streams."),
        .count(
            "device.bind_workers", \.device.bindWorkers, 1...8,
            "Threads that write page tables for bind queues."),
        .count(
            "device.tlb_entries", \.device.tlbEntries, 4...1_048_576,
            "Entries of each engine's TLB."),
        .duration(
            "device.job_timeout", \.device.jobTimeout, 10 * millisecond...10 * minute,
            "Time that a job may run before its queue is reset and banned."),
        .choice(
            "device.hazards", \.device.hazards,
            "What is done about missing barriers between copies."),

        .size(
            "quotas.bo_bytes", \.quotas.boBytes, mib...tib, multipleOf: 4 * kib,
            "Bytes of all buffer objects of a client."),
        .count("quotas.bos", \.quotas.bos, 1...1_048_576, "Buffer objects of a client."),
        .count("quotas.vms", \.quotas.vms, 1...4096, "GPU VMs of a client."),
        .count("quotas.queues", \.quotas.queues, 1...4096, "Queues of a client."),
        .count("quotas.syncobjs", \.quotas.syncobjs, 1...1_048_576, "Sync objects of a client."),
        .count(
            "quotas.mappings", \.quotas.mappings, 1...16_777_216, "Mappings of a client."),
        .count(
            "quotas.jobs_in_flight", \.quotas.jobsInFlight, 1...65_536,
            "Unfinished jobs of a client."),
        .count(
            "quotas.bind_ops_in_flight", \.quotas.bindOperationsInFlight, 1...16_777_216,
            "Operations in a client's unfinished binds."),
        .size(
            "quotas.page_table_bytes", \.quotas.pageTableBytes, 64 * kib...16 * gib,
            multipleOf: 4 * kib, "Page-table memory that a client's VMs may hold or reserve."),
        .count(
            "quotas.fence_fds", \.quotas.fenceDescriptors, 1...1_000_000,
            "Descriptors kept open for a client's exported fences and eventfds."),
        .count(
            "quotas.waits", \.quotas.waits, 1...65_536,
            "A client's waits for sync objects that the daemon keeps."),
        .count(
            "quotas.requests_per_second", \.quotas.requestsPerSecond, 1...1_000_000,
            "Requests of a client in a second before it is slowed down."),
        .count(
            "quotas.request_burst", \.quotas.requestBurst, 1...1_000_000,
            "Requests of a client that may come at once after a pause."),

        .count("limits.max_clients", \.limits.maxClients, 1...4096, "Connections at a time."),
        .count(
            "limits.max_clients_per_user", \.limits.maxClientsPerUser, 1...4096,
            "Connections of one user at a time."),
        .count(
            "limits.requests_per_second", \.limits.requestsPerSecond, 1...1_000_000,
            "Requests of all clients in a second before the busiest are slowed down."),
        .duration(
            "limits.hello_timeout", \.limits.helloTimeout, 10 * millisecond...10 * minute,
            "Time that a connection may take for its first request."),

        .count("fault_log.entries", \.faultLog.entries, 1...65_536, "Faults kept."),
    ]

    /// What is wrong with a configuration whose values are each in their range: the keys, and what
    /// they take beside the others.
    static func contradictions(
        in configuration: DaemonConfiguration
    ) -> [(path: String, value: String, allowed: String)] {
        let device = configuration.device
        guard let visible = device.visibleVRAM, visible > device.vram else { return [] }
        return [
            (
                "device.visible_vram", ByteSize.format(visible),
                "at most device.vram, which is \(ByteSize.format(device.vram))"
            )
        ]
    }

    /// The section names in the order of ``keys``.
    static let sections: [String] = keys.reduce(into: []) { sections, key in
        if sections.last != String(key.section) { sections.append(String(key.section)) }
    }

    /// The key of a path.
    static func key(_ path: String) -> ConfigurationKey? { keys.first { $0.path == path } }

    /// The path that a misspelt one most likely means; nil if none is near.
    static func suggestion(for path: String) -> String? {
        let known = sections + keys.map(\.path)
        let nearest = known.map { ($0, EditDistance.between(path, $0)) }.min { $0.1 < $1.1 }
        if let (candidate, distance) = nearest, distance <= max(2, path.count / 4) {
            return candidate
        }
        // The right name in the wrong section is a common slip after reading only half of the file.
        let name = path.split(separator: ".").last.map(String.init) ?? path
        return keys.first { $0.name == name }?.path
    }
}
