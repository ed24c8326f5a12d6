import CWireProtocol

/// The demo's report for people.
struct DemoText {
    private let report: DemoReport
    private let style: TerminalStyle
    private var lines: [String] = []

    /// The lines of a report; what has not been reached is left out.
    static func lines(_ report: DemoReport, style: TerminalStyle = .plain) -> [String] {
        var text = DemoText(report, style)
        text.header()
        text.pending()
        text.operations()
        text.addressSpace()
        text.walk()
        text.fault()
        text.fences()
        text.verdict()
        return text.lines
    }

    private init(_ report: DemoReport, _ style: TerminalStyle) {
        self.report = report
        self.style = style
    }

    private mutating func section(_ title: String) {
        lines.append(style.bold(title))
    }

    private mutating func header() {
        let server = report.server
        section("\(server.name.printable)")
        var summary = "  client \(server.clientID)"
        if let vm = report.vm {
            summary += """
                , VM \(vm.id) "\(Names.text(vm.name))" [\(hex(vm.start));\(hex(vm.start &+ vm.range))], \
                reserved [\(hex(vm.reserved_start));\(hex(vm.reserved_start &+ vm.reserved_range))]
                """
        }
        lines.append(summary)
        var table = TextTable([("", .left), ("", .right), ("", .left), ("", .left)])
        for buffer in report.buffers {
            table.add([
                Names.text(buffer.info.name), size(buffer.info.size),
                Names.placement(buffer.info.placement), hex(buffer.info.physical_address),
            ])
        }
        lines += table.lines(indent: 2).dropFirst()
    }

    private mutating func pending() {
        guard let pending = report.pending else { return }
        section(
            "asynchronous bind \(pending.fence), its in-fence timeline point \(pending.point)")
        lines.append("  before  " + state(pending.before, pending.walkAddress))
        if let after = pending.after {
            lines.append("  after   " + state(after, pending.walkAddress))
        }
    }

    private func state(_ state: DemoReport.Pending.State, _ address: UInt64) -> String {
        let fence =
            state.fence.signaled == 0
            ? "pending"
            : state.fence.error == 0 ? "signalled" : Names.errno(UInt32(state.fence.error))
        return """
            timeline \(state.value), fence \(fence), copy \(state.copied ? "done" : "held back"), \
            \(hex(address)) -> \(WalkReport.result(state.walk))
            """
    }

    private mutating func operations() {
        guard !report.binds.isEmpty else { return }
        section("operations of each bind, with the number of the overlap case")
        for (index, bind) in report.binds.enumerated() {
            lines.append("  \(index + 1). \(bind.title)")
            for record in bind.operations { operation(record) }
        }
    }

    private mutating func operation(_ record: gpuvm_op_record) {
        let number = record.case_number == 0 ? "-" : "\(record.case_number)"
        lines.append(
            "     \(number.aligned(2))  \(Names.operation(record).padded(11)) "
                + mapping(record.mapping))
        var rest: [String] = []
        if record.flags & GPUVM_OP_HAS_PREV != 0 { rest.append("prev \(mapping(record.prev))") }
        if record.flags & GPUVM_OP_HAS_NEXT != 0 { rest.append("next \(mapping(record.next))") }
        if !rest.isEmpty {
            lines.append(String(repeating: " ", count: 21) + rest.joined(separator: "  "))
        }
    }

    private func mapping(_ mapping: gpuvm_mapping) -> String {
        MappingReport.text(mapping) { report.name(of: $0) }
    }

    private mutating func addressSpace() {
        guard let vm = report.vm, !report.mappings.isEmpty else { return }
        lines.append(style.bold(VMReport.header(vm)[0]))
        lines += VMReport.table(report.mappings)
        lines.append(
            """
              page tables: \(vm.table_pages) pages, leaves: \(vm.leaves_2m) of 2 MiB, \
            \(vm.leaves_64k) of 64 KiB, \(vm.leaves_4k) of 4 KiB, \(vm.leaves_null) null
            """)
    }

    private mutating func walk() {
        guard let walk = report.walk else { return }
        section("page-table walk of \(hex(report.walkAddress))")
        lines += WalkReport.lines(walk)
    }

    private mutating func fault() {
        guard let fault = report.fault else { return }
        let text = FaultReport.lines(fault) { report.name(of: $0) }
        section(text[0])
        lines += text.dropFirst()
        if let queue = report.faultQueue, queue.banned != 0 {
            lines.append("  queue banned with \(Names.errno(queue.banned))")
        }
        if let refusal = report.refusal { lines.append("  next job: \(refusal.printable)") }
    }

    private mutating func fences() {
        guard !report.jobs.isEmpty else { return }
        section("fence times, us after the first submission")
        let origin = report.jobs.map(\.info.submitted).filter { $0 != 0 }.min() ?? 0
        func time(_ value: UInt64) -> String {
            value == 0 ? "-" : microseconds(value >= origin ? value - origin : 0)
        }
        var table = TextTable([
            ("job", .left), ("fence", .right), ("submitted", .right), ("started", .right),
            ("finished", .right), ("result", .left),
        ])
        for job in report.jobs {
            let result =
                job.info.signaled == 0
                ? "pending" : job.info.error == 0 ? "ok" : Names.errno(UInt32(job.info.error))
            table.add([
                job.title, "\(job.fence)", time(job.info.submitted), time(job.info.started),
                time(job.info.finished), result,
            ])
        }
        lines += table.lines(indent: 2)
        if let nanoseconds = report.engineNanoseconds {
            lines.append(
                "  the engine's own timestamps around the copies: \(microseconds(nanoseconds)) us")
        }
    }

    private mutating func verdict() {
        for mismatch in report.mismatches {
            lines.append(
                """
                \(mismatch.buffer)+\(hex(mismatch.offset)): found \(hex(UInt64(mismatch.found), digits: 2)) \
                instead of \(hex(UInt64(mismatch.expected), digits: 2)) \
                (\(mismatch.count) bytes differ)
                """)
        }
        lines += report.problems.map { $0.printable }
        let detail = Self.detail(report)
        lines.append(
            report.passed
                ? style.good("demo: PASS (\(detail))") : style.bad("demo: FAIL (\(detail))"))
    }

    /// What the verdict says in brackets.
    static func detail(_ report: DemoReport) -> String {
        let operations = report.binds.reduce(0) { $0 + $1.operations.count }
        return """
            \(report.verifiedBytes) bytes verified, \(report.mappings.count) mappings, \
            \(operations) operations, \(report.jobs.count) jobs, \
            \(report.fault == nil ? 0 : 1) fault provoked
            """
    }
}
