import CWireProtocol

/// The closing words of a run.
enum RunSummaryText {
    static func lines(_ summary: RunSummary) -> [String] {
        let totals = summary.totals
        var lines = [
            """
            gpuvmctl run: \(totals.ioctls) ioctls (\(totals.failed) answered an errno, \
            \(totals.unknown) unknown), \(totals.bindOperations) bind operations, \
            \(totals.pushes) push buffers, \(totals.execJobs + totals.bindJobs) jobs \
            (\(totals.failedJobs) failed), \(totals.faults) faults, \(totals.bytesRead) bytes read \
            and \(totals.bytesWritten) written through the MMUs
            """
        ]
        func add(_ title: String, _ counts: [RunSummary.Count]) {
            guard !counts.isEmpty else { return }
            let text = counts.map { count in
                let error = count.error == 0 ? "" : " \(Names.errno(UInt32(count.error)))"
                return "\(count.name)\(error) \(count.count)"
            }
            lines.append("  \(title.padded(9)) \(text.joined(separator: ", "))")
        }
        add("ioctls", summary.ioctls)
        add("errors", summary.errors)
        add("asked", summary.asked)
        add("core did", summary.done)
        if totals.execJobs + totals.bindJobs != 0 {
            lines.append(
                "  \("jobs".padded(9)) exec \(totals.execJobs), bind \(totals.bindJobs)")
        }
        if totals.evictions + totals.restores != 0 {
            lines.append(
                """
                  \("memory".padded(9)) \(totals.evictions) evictions, \(totals.restores) \
                restores, \(roughSize(totals.bytesMoved)) moved
                """)
        }
        add("refused", summary.refused)
        if totals.missingBarriers + totals.refusedBinds != 0 {
            lines.append(
                """
                  \("mistakes".padded(9)) \(totals.missingBarriers) missing barriers, \
                \(totals.refusedBinds) refused binds
                """)
        }
        if let injections = summary.injections {
            lines += injections.rules.map { "  \("injected".padded(9)) \(injected($0))" }
        }
        lines += summary.faults.map { "  \(fault($0, summary.files))" }
        let remembered = UInt64(summary.faults.count { !isMistake($0) })
        if totals.faults > remembered {
            lines.append(
                "  and \(totals.faults - remembered) faults before those, which nobody remembers")
        }
        if !summary.openFiles.isEmpty {
            let names = summary.openFiles.map { "\(Names.text($0.name)) (pid \($0.pid))" }
            lines.append(
                "  \("left open".padded(9)) \(names.joined(separator: ", "))")
        }
        return lines
    }

    /// What a rule has done, in one line.
    private static func injected(_ record: gpuvm_injection_record) -> String {
        """
        rule \(record.id), \(InjectionReport.text(record.rule)): fired \(record.fired) times at \
        \(record.seen) requests
        """
    }

    /// Whether no access failed: what is recorded is a mistake of the program's that hardware lets
    /// pass.
    private static func isMistake(_ fault: gpuvm_fault_record) -> Bool {
        fault.reason == GPUVM_FAULT_MISSING_BARRIER.rawValue
            || fault.reason == GPUVM_FAULT_BIND_REFUSED.rawValue
    }

    /// A fault in one line: what, where, who.
    static func fault(_ fault: gpuvm_fault_record, _ files: [gpuvm_drm_file_record]) -> String {
        let who =
            files.first { $0.client_id == fault.client_id }.map {
                "\(Names.text($0.name)) (pid \($0.pid))"
            } ?? "client \(fault.client_id)"
        if isMistake(fault), let text = FaultReport.lines(fault).first {
            return "\(text); \(who), VM \(fault.vm)"
        }
        let origin =
            fault.flags & GPUVM_FAULT_IS_INJECTED != 0 ? " injected by rule \(fault.detail)" : ""
        return """
            fault \(fault.id)\(origin): \(Names.access(fault.access)) of \(hex(fault.address)): \
            \(Names.reason(fault.reason)); \(who), VM \(fault.vm), queue \(fault.queue)
            """
    }
}
