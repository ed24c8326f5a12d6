import CWireProtocol

/// `demo --pressure` for programs.
enum PressureJSON {
    static func members(_ report: PressureReport) -> [(String, JSON)] {
        let scenario = report.scenario
        return [
            ("verdict", .string(report.passed ? "pass" : "fail")),
            ("failures", .array(report.failures.map { .string($0) })),
            ("problems", .array(report.problems.map { .string($0) })),
            ("mismatches", .array(report.mismatches.map { mismatch($0) })),
            ("verified_bytes", .number(report.verifiedBytes)),
            ("server", .string(report.server)),
            ("seed", .number(scenario.seed)),
            ("vram_bytes", .number(scenario.capacity)),
            ("working_set_bytes", .number(scenario.workingSet)),
            ("bytes", .number(report.bytes)),
            ("buffers", .number(UInt64(report.buffers))),
            ("vms", .number(UInt64(report.vms))),
            ("jobs", .number(report.jobs)),
            ("evictions", .number(report.evictions)),
            ("restores", .number(report.restores)),
            ("bytes_moved", .number(report.bytesMoved)),
            ("faults", .number(UInt64(report.faults))),
            ("elapsed_ns", .number(report.elapsed)),
            (
                "clients",
                .array(
                    report.clients.map { client in
                        .object([
                            ("id", .number(client.id)),
                            ("vms", .number(UInt64(client.vms))),
                            ("buffers", .number(UInt64(client.buffers))),
                            ("bytes", .number(client.bytes)),
                            ("rounds", .number(UInt64(client.rounds))),
                            ("jobs", .number(client.jobs)),
                            ("verified_bytes", .number(client.verifiedBytes)),
                        ])
                    })
            ),
            ("samples", .array(report.samples.map { sample($0, since: report.before) })),
        ]
    }

    private static func mismatch(_ mismatch: PressureReport.Mismatch) -> JSON {
        .object([
            ("client", .number(UInt64(mismatch.client + 1))),
            ("buffer", .string(mismatch.buffer)),
            ("offset", .number(mismatch.difference.offset)),
            ("expected", .number(mismatch.difference.expected)),
            ("found", .number(mismatch.difference.found)),
            ("count", .number(mismatch.difference.count)),
        ])
    }

    private static func sample(
        _ sample: PressureSample, since before: gpuvm_memory_info_reply
    ) -> JSON {
        .object([
            ("elapsed_ns", .number(sample.elapsed)),
            ("vram_used", .number(sample.memory.vram.used)),
            ("system_used", .number(sample.memory.system.used)),
            ("evictions", .number(sample.memory.evictions &- before.evictions)),
            ("restores", .number(sample.memory.restores &- before.restores)),
            ("bytes_moved", .number(sample.memory.bytes_moved &- before.bytes_moved)),
            ("owners", .array(sample.owners.map { residency($0) })),
            ("others", residency(sample.others)),
        ])
    }

    private static func residency(_ residency: PressureResidency) -> JSON {
        .object([
            ("vram_bytes", .number(residency.vramBytes)),
            ("evicted_bytes", .number(residency.evictedBytes)),
            ("resident", .number(UInt64(residency.resident))),
            ("evicted", .number(UInt64(residency.evicted))),
        ])
    }
}
