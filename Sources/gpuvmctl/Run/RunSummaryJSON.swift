import CWireProtocol

/// The summary of a run as a document.
enum RunSummaryJSON {
    static func members(_ summary: RunSummary, exit: ChildProcess.Exit) -> [(String, JSON)] {
        let totals = summary.totals
        let ending: (String, JSON) =
            switch exit {
            case .status(let status): ("exit_status", .signed(Int64(status)))
            case .signal(let number): ("signal", .signed(Int64(number)))
            }
        return [
            ("device", .string(summary.model)),
            ending,
            (
                "totals",
                .object([
                    ("ioctls", .number(totals.ioctls)),
                    ("failed_ioctls", .number(totals.failed)),
                    ("unknown_ioctls", .number(totals.unknown)),
                    ("bind_operations", .number(totals.bindOperations)),
                    ("push_buffers", .number(totals.pushes)),
                    ("exec_jobs", .number(totals.execJobs)),
                    ("bind_jobs", .number(totals.bindJobs)),
                    ("failed_jobs", .number(totals.failedJobs)),
                    ("faults", .number(totals.faults)),
                    ("bytes_read", .number(totals.bytesRead)),
                    ("bytes_written", .number(totals.bytesWritten)),
                    ("evictions", .number(totals.evictions)),
                    ("restores", .number(totals.restores)),
                    ("bytes_moved", .number(totals.bytesMoved)),
                    ("missing_barriers", .number(totals.missingBarriers)),
                    ("refused_binds", .number(totals.refusedBinds)),
                ])
            ),
            ("ioctls", counts(summary.ioctls)),
            ("errors", counts(summary.errors)),
            ("asked", counts(summary.asked)),
            ("done", counts(summary.done)),
            ("refused_methods", counts(summary.refused)),
            ("faults", .array(summary.faults.map { FaultReport.json($0) })),
            (
                "injections",
                .array(summary.injections?.rules.map { InjectionReport.json($0) } ?? [])
            ),
            (
                "injection_firings",
                .array(summary.injections?.firings.map { InjectionReport.json($0) } ?? [])
            ),
            (
                "files",
                .array(
                    summary.files.map { file in
                        .object([
                            ("client", .number(file.client_id)),
                            ("pid", .signed(Int64(file.pid))),
                            ("name", .string(Names.text(file.name))),
                            ("opened_ns", .number(file.opened)),
                            ("closed_ns", file.closed == 0 ? .null : .number(file.closed)),
                            ("ioctls", .number(file.ioctls)),
                            ("failed_ioctls", .number(file.failed)),
                        ])
                    })
            ),
        ]
    }

    private static func counts(_ counts: [RunSummary.Count]) -> JSON {
        .array(
            counts.map { count in
                var members: [(String, JSON)] = [("name", .string(count.name))]
                if count.error != 0 {
                    members.append(("errno", .string(Names.errno(UInt32(count.error)))))
                }
                return .object(members + [("count", .number(count.count))])
            })
    }
}
