import CWireProtocol

/// The demo's report for programs.
enum DemoJSON {
    static func members(_ report: DemoReport) -> [(String, JSON)] {
        [
            ("verdict", .string(report.passed ? "pass" : "fail")),
            ("verified_bytes", .number(report.verifiedBytes)),
            ("mismatches", .array(report.mismatches.map { mismatch($0) })),
            ("problems", .array(report.problems.map { .string($0) })),
            (
                "server",
                .object([
                    ("name", .string(report.server.name)),
                    ("client", .number(report.server.clientID)),
                ])
            ),
            ("buffers", .array(report.buffers.map { buffer($0) })),
            ("asynchronous_bind", report.pending.map { pending($0) } ?? .null),
            ("binds", .array(report.binds.map { bind($0) })),
            ("vm", report.vm.map { VMReport.json($0) } ?? .null),
            ("mappings", .array(report.mappings.map { VMReport.json($0) })),
            (
                "walk",
                report.walk.map { walk in
                    .object([
                        ("address", .address(report.walkAddress)),
                        ("walk", WalkReport.json(walk)),
                    ])
                } ?? .null
            ),
            ("fault", report.fault.map { FaultReport.json($0) } ?? .null),
            (
                "fault_queue_banned",
                report.faultQueue.map { .string(Names.errno($0.banned)) } ?? .null
            ),
            ("jobs", .array(report.jobs.map { job($0) })),
            ("engine_ns", report.engineNanoseconds.map { .number($0) } ?? .null),
        ]
    }

    private static func mismatch(_ mismatch: DemoReport.Mismatch) -> JSON {
        .object([
            ("buffer", .string(mismatch.buffer)),
            ("offset", .number(mismatch.offset)),
            ("expected", .number(mismatch.expected)),
            ("found", .number(mismatch.found)),
            ("count", .number(mismatch.count)),
        ])
    }

    private static func buffer(_ buffer: DemoReport.Buffer) -> JSON {
        .object([
            ("handle", .number(buffer.handle)),
            ("name", .string(Names.text(buffer.info.name))),
            ("size", .number(buffer.info.size)),
            ("placement", .string(Names.placement(buffer.info.placement))),
            ("physical_address", .address(buffer.info.physical_address)),
        ])
    }

    private static func pending(_ pending: DemoReport.Pending) -> JSON {
        .object([
            ("fence", .string("\(pending.fence)")),
            ("point", .number(pending.point)),
            ("address", .address(pending.walkAddress)),
            ("before", state(pending.before)),
            ("after", pending.after.map { state($0) } ?? .null),
        ])
    }

    private static func state(_ state: DemoReport.Pending.State) -> JSON {
        .object([
            ("timeline", .number(state.value)),
            ("fence_signalled", .bool(state.fence.signaled != 0)),
            ("copied", .bool(state.copied)),
            ("walk", WalkReport.json(state.walk)),
        ])
    }

    private static func bind(_ bind: DemoReport.Bind) -> JSON {
        .object([
            ("title", .string(bind.title)),
            ("fence", .string("\(bind.fence)")),
            ("operations", .array(bind.operations.map { operation($0) })),
        ])
    }

    private static func operation(_ record: gpuvm_op_record) -> JSON {
        let hasPrev = record.flags & GPUVM_OP_HAS_PREV != 0
        let hasNext = record.flags & GPUVM_OP_HAS_NEXT != 0
        return .object([
            ("request", .number(record.request)),
            ("kind", .string(Names.operation(record))),
            ("case", record.case_number == 0 ? .null : .number(record.case_number)),
            ("mapping", MappingReport.json(record.mapping)),
            ("prev", hasPrev ? MappingReport.json(record.prev) : .null),
            ("next", hasNext ? MappingReport.json(record.next) : .null),
        ])
    }

    private static func job(_ job: DemoReport.Job) -> JSON {
        .object([
            ("title", .string(job.title)),
            ("fence", .string("\(job.fence)")),
            ("submitted_ns", .number(job.info.submitted)),
            ("started_ns", .number(job.info.started)),
            ("finished_ns", .number(job.info.finished)),
            ("signalled", .bool(job.info.signaled != 0)),
            ("error", job.info.error == 0 ? .null : .string(Names.errno(UInt32(job.info.error)))),
        ])
    }
}
