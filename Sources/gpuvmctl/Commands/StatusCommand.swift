import ArgumentParser
import CWireProtocol
import GPUVMClient

/// `gpuvmctl status`.
struct StatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Prints the device's counters.")

    @OptionGroup var options: GlobalOptions

    func run() throws {
        try options.run { connection throws(ClientError) in
            // A daemon of protocol 1.0 has no such counters.
            let memory = connection.server.minor >= 1 ? try connection.memoryInfo() : nil
            return Self.report(try connection.status(), memory)
        }
    }

    static func report(
        _ status: gpuvm_status_reply, _ memory: gpuvm_memory_info_reply? = nil
    ) -> Report {
        let server = Names.text(status.server)
        let (hits, misses) = (status.tlb_hits, status.tlb_misses)
        let rate = hits + misses == 0 ? "-" : "\(hits * 100 / (hits + misses)) %"
        var rows: [(String, String)] = [
            ("server", "\(server), up \(seconds(status.uptime_ns))"),
            (
                "objects",
                """
                \(status.clients) clients, \(status.vms) VMs, \(status.mappings) mappings, \
                \(status.bos) BOs, \(status.queues) queues, \(status.syncobjs) syncobjs, \
                \(status.open_fds) fds
                """
            ),
            ("VRAM", "\(roughSize(status.vram_used)) of \(size(status.vram_bytes)) used"),
            ("system", "\(roughSize(status.system_used)) of \(size(status.system_bytes)) used"),
            (
                "page tables",
                """
                \(status.table_pages_used) used and \(status.table_pages_reserved) reserved of \
                \(status.table_pages) pages
                """
            ),
            ("requests", "\(status.requests), \(status.failed_requests) failed"),
            (
                "jobs",
                """
                \(status.bind_jobs) binds, \(status.exec_jobs) execs, \(status.failed_jobs) failed, \
                \(status.faults) faults
                """
            ),
            (
                "MMU",
                "\(roughSize(status.bytes_read)) read, \(roughSize(status.bytes_written)) written"
            ),
            (
                "TLB",
                "\(hits) hits, \(misses) misses (\(rate)), \(status.tlb_invalidations) invalidations"
            ),
        ]
        var json: [(String, JSON)] = [
            ("server", .string(server)),
            ("uptime_ns", .number(status.uptime_ns)),
            ("clients", .number(status.clients)),
            ("vms", .number(status.vms)),
            ("bos", .number(status.bos)),
            ("queues", .number(status.queues)),
            ("syncobjs", .number(status.syncobjs)),
            ("open_fds", .number(status.open_fds)),
            ("mappings", .number(status.mappings)),
            ("vram_bytes", .number(status.vram_bytes)),
            ("vram_used", .number(status.vram_used)),
            ("system_bytes", .number(status.system_bytes)),
            ("system_used", .number(status.system_used)),
            ("table_pages", .number(status.table_pages)),
            ("table_pages_used", .number(status.table_pages_used)),
            ("table_pages_reserved", .number(status.table_pages_reserved)),
            ("requests", .number(status.requests)),
            ("failed_requests", .number(status.failed_requests)),
            ("bind_jobs", .number(status.bind_jobs)),
            ("exec_jobs", .number(status.exec_jobs)),
            ("failed_jobs", .number(status.failed_jobs)),
            ("faults", .number(status.faults)),
            ("bytes_read", .number(status.bytes_read)),
            ("bytes_written", .number(status.bytes_written)),
            ("tlb_hits", .number(hits)),
            ("tlb_misses", .number(misses)),
            ("tlb_invalidations", .number(status.tlb_invalidations)),
        ]
        if let memory {
            rows.append(("pressure", MemoryReport.pressure(memory)))
            json += MemoryReport.counters(memory)
        }
        return Report(lines: rows.map { $0.0.padded(13) + $0.1 }, json: json)
    }
}
