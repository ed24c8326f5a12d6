import CWireProtocol

/// `demo --pressure` for people.
enum PressureText {
    /// What is going to happen.
    static func header(_ server: String, _ scenario: PressureScenario) -> [String] {
        let vms = PressureScenario.clients * scenario.vmsPerClient
        return [
            server.printable,
            """
              seed \(scenario.seed): \(PressureScenario.clients) clients, \(vms) VMs of \
            \(size(scenario.workingSet)) each, \(size(scenario.totalBytes)) of buffers for \
            \(size(scenario.capacity)) of VRAM
            """,
        ]
    }

    /// Residency by owner and place; always as many lines.
    static func table(
        _ sample: PressureSample, since before: gpuvm_memory_info_reply
    ) -> [String] {
        let memory = sample.memory
        var table = TextTable([
            ("OWNER", .left), ("IN VRAM", .right), ("EVICTED", .right),
            ("BOS IN VRAM", .right), ("BOS EVICTED", .right), ("ROUNDS", .right),
            ("JOBS", .right),
        ])
        for (index, owner) in sample.owners.enumerated() {
            table.add(
                row("client \(index + 1)", owner) + [
                    "\(sample.rounds[index])", "\(sample.jobs[index])",
                ])
        }
        table.add(row("others", sample.others) + ["", ""])
        return [
            """
            \(seconds(sample.elapsed))  VRAM \(roughSize(memory.vram.used)) of \
            \(size(memory.vram.bytes)) used, system \(roughSize(memory.system.used)); \
            \(moves(memory, since: before))
            """
        ] + table.lines(indent: 2)
    }

    private static func row(_ name: String, _ owner: PressureResidency) -> [String] {
        [
            name, roughSize(owner.vramBytes), roughSize(owner.evictedBytes), "\(owner.resident)",
            "\(owner.evicted)",
        ]
    }

    /// One line for where no table can be kept up to date.
    static func progress(
        _ sample: PressureSample, since before: gpuvm_memory_info_reply
    ) -> String {
        let owners = sample.owners.enumerated().map { index, owner in
            "client \(index + 1) \(roughSize(owner.vramBytes))"
        }
        let resident = sample.owners.reduce(0) { $0 + $1.resident }
        let evicted = sample.owners.reduce(0) { $0 + $1.evicted }
        return """
            \(seconds(sample.elapsed))  in VRAM: \(owners.joined(separator: ", ")) (\(resident) \
            BOs, \(evicted) evicted); \(moves(sample.memory, since: before))
            """
    }

    private static func moves(
        _ memory: gpuvm_memory_info_reply, since before: gpuvm_memory_info_reply
    ) -> String {
        """
        \(memory.evictions &- before.evictions) evictions, \
        \(memory.restores &- before.restores) restores, \
        \(roughSize(memory.bytes_moved &- before.bytes_moved)) moved
        """
    }

    /// What came of it; the last line is the verdict.
    static func verdict(_ report: PressureReport, style: TerminalStyle = .plain) -> [String] {
        var lines: [String] = []
        for mismatch in report.mismatches {
            let difference = mismatch.difference
            lines.append(
                """
                client \(mismatch.client + 1), \(mismatch.buffer.printable)+\
                \(hex(difference.offset)): found \(hex(UInt64(difference.found), digits: 2)) \
                instead of \(hex(UInt64(difference.expected), digits: 2)) \
                (\(difference.count) bytes differ)
                """)
        }
        lines += report.problems.map { $0.printable }
        let scenario = report.scenario
        if report.isMemoryRefused, scenario.workingSet > scenario.capacity {
            lines.append(
                """
                the \(size(scenario.workingSet)) of buffers that one VM maps do not fit into \
                \(size(scenario.capacity)) of VRAM, and the daemon said so: give it more with \
                --vram, or less to do with --working-set
                """)
        }
        let tenths = report.overcommitTenths
        let detail = """
            \(report.verifiedBytes) bytes of \(report.buffers) buffers verified, VRAM \
            \(tenths / 10).\(tenths % 10) times over-committed by \(report.vms) VMs, \
            \(report.jobs) jobs, \(report.evictions) evictions, \(report.restores) restores, \
            \(roughSize(report.bytesMoved)) moved, \(report.faults) faults, \
            \(seconds(report.elapsed))
            """
        lines.append(
            report.passed
                ? style.good("demo: PASS (\(detail))")
                : style.bad("demo: FAIL: \(report.failures.joined(separator: "; ")) (\(detail))"))
        return lines
    }
}
